"""Files of a span: one JSON line per frame, appended as frames are finished.

A line counts once its newline is there: whatever follows the last whole line was torn off by a
crash and is ignored. Kinds of lines:

- `{"span": 0, ..., "numbers": {"30": [1, 2, 5]}}`: the first line. `numbers` gives every seed of
  the key frames known so far, by its k, the number of its object.
- `{"frame": 31, "masks": [{"object": 1, "left": .., "top": .., "width": .., "height": ..,
  "rle": "..", "score": 0.1, "why": "split"}], "confidence": [..], "strayed": [..]}`: one finished
  frame. `score` is the divergence in final records and `why` what speaks most against the mask;
  `"refined": true` follows if a segmenter had a say in it. `"gone": [[2, 0.5, 0.9], ..]` stands
  there too: number of an object that was there and has no mask, the doubt with which it vanished,
  and its divergence. `confidence` (by object number) stands in the records of a forward pass,
  `strayed` (too; `tracker.divergence.strayed`) in those of all passes. On a key frame,
  `"numbers": [..]` follows the frame, and `masks` are additions to what a human drew.
- `{"anchor": 60, "numbers": [..]}`: a key frame that was met and is no frame of the span.

Where a pass met a key frame, `"met": {"1": 0.93}` follows its numbers: the IoU of its masks with
those that a human drew, by object number.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from cvat_io.masks import encode_labels, format_rle, paint, parse_rle
from cvat_io.model import Mask
from tracker.protocol import LabelMap
from worker.judge import Verdict

# Lines are long, and an index needs only their beginnings.
_NUMBERS = rb'"numbers": (\[[0-9, ]*\])(?:, "met": (\{["0-9., :]*\}))?'
_HEADER = re.compile(rb'\{"span": .*"numbers": (\{["0-9, :\[\]]*\})\}\n')
_FRAME = re.compile(rb'\{"frame": ([0-9]+), (?:' + _NUMBERS + rb")?")
_ANCHOR = re.compile(rb'\{"anchor": ([0-9]+), ' + _NUMBERS)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """One object on one frame. `score`: divergence in [0, 1]; 0 in the records of a pass.

    `why`: what speaks most against the mask, a name of `tracker.signs.Sign` in small letters; empty
    in the records of a pass. `refined`: whether a segmenter had a say in it (`worker.refine`).
    """

    number: int
    mask: Mask
    score: float
    why: str = ""
    refined: bool = False


@dataclass(frozen=True, slots=True)
class GoneObject:
    """An object that was there and has no mask. `unsure`: the doubt with which it vanished."""

    number: int
    unsure: float
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """What a file says of one frame; `masks` and `gone` by ascending object number.

    `confidence`, `strayed`: float32 (N,), entry i for object number i + 1; empty where the file
    has none.
    """

    frame: int
    masks: tuple[ObjectMask, ...]
    confidence: NDArray[np.float32]
    strayed: NDArray[np.float32]
    gone: tuple[GoneObject, ...]

    def labels(self, height: int, width: int) -> LabelMap:
        """The frame's label map (H, W)."""
        labels = np.zeros((height, width), dtype=np.uint16)
        for item in self.masks:
            paint(item.mask, labels, item.number)
        return labels


def frame_line(
    frame: int,
    labels: LabelMap,
    *,
    numbers: Sequence[int] | None = None,
    met: Mapping[int, float] | None = None,
    verdict: Verdict | None = None,
    confidence: NDArray[np.float32] | None = None,
    strayed: NDArray[np.float32] | None = None,
    refined: Collection[int] = (),
) -> bytes:
    """The line of one frame. `confidence`, `strayed`: (N,), entry i for object number i + 1.

    `numbers`: on a key frame, the object numbers of its seeds; `met`: how well the pass came there.
    `verdict`: of a final record. `refined`: numbers of the objects in whose masks a segmenter had a
    say.
    """
    masks: list[dict[str, Any]] = []
    for number, mask in encode_labels(labels).items():
        item: dict[str, Any] = {
            "object": number,
            "left": mask.left,
            "top": mask.top,
            "width": mask.width,
            "height": mask.height,
            "rle": format_rle(mask.runs),
        }
        if verdict is not None:
            item["score"] = round(float(verdict.scores[number - 1]), 4)
            item["why"] = verdict.reasons[number - 1].name.lower()
        if number in refined:
            item["refined"] = True
        masks.append(item)
    record: dict[str, Any] = {"frame": frame}
    if numbers is not None:
        record |= _numbered(numbers, met)
    record["masks"] = masks
    if confidence is not None:
        record["confidence"] = np.round(confidence.astype(np.float64), 4).tolist()
    if strayed is not None:
        record["strayed"] = np.round(strayed.astype(np.float64), 4).tolist()
    if verdict is not None:
        gone = [
            [k + 1, round(float(verdict.gone[k]), 4), round(float(verdict.scores[k]), 4)]
            for k in np.flatnonzero(verdict.gone).tolist()
        ]
        if gone:
            record["gone"] = gone
    return _line(record)


def anchor_line(
    frame: int, numbers: Sequence[int], met: Mapping[int, float] | None = None
) -> bytes:
    """The line that gives a key frame's seeds their object numbers; `met` as in `frame_line`."""
    return _line({"anchor": frame, **_numbered(numbers, met)})


def _numbered(numbers: Sequence[int], met: Mapping[int, float] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"numbers": list(numbers)}
    if met:
        told["met"] = {str(number): iou for number, iou in met.items()}
    return told


def header_line(facts: Mapping[str, Any], numbers: Mapping[int, Sequence[int]]) -> bytes:
    """The first line: `facts` for people who look inside, and the object numbers of seeds."""
    return _line({**facts, "numbers": {str(key): list(value) for key, value in numbers.items()}})


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(", ", ": ")).encode() + b"\n"


class SpanFile:
    """A span's file for reading: an index of its whole lines, frames read when asked for."""

    def __init__(self, path: Path) -> None:
        """Index `path`; a missing file is an empty one."""
        self._path = path
        self._file: BinaryIO | None = None
        self._offsets: dict[int, int] = {}
        self.numbers: dict[int, tuple[int, ...]] = {}  # of seeds, by key frame
        self.met: dict[int, dict[int, float]] = {}  # how well a pass came to a key frame
        self.end = 0  # bytes of whole lines
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if not self._index(line):
                    break
                self.end += len(line)

    def _index(self, line: bytes) -> bool:
        """Take up one line; False for one that is torn, or damaged by a machine that went down."""
        if not line.endswith(b"}\n"):
            return False
        if self.end == 0:
            found = _HEADER.fullmatch(line)
            numbers = json.loads(found[1]) if found else {}
            self.numbers = {int(key): tuple(value) for key, value in numbers.items()}
            return found is not None
        found = _FRAME.match(line)
        if found:
            self._offsets[int(found[1])] = self.end
        else:
            found = _ANCHOR.match(line)
        if found and found[2]:
            self.numbers[int(found[1])] = tuple(json.loads(found[2]))
            met = json.loads(found[3] or b"{}")
            self.met[int(found[1])] = {int(number): iou for number, iou in met.items()}
        return found is not None

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames that are whole, in the order of the file."""
        return tuple(self._offsets)

    def __contains__(self, frame: int) -> bool:
        return frame in self._offsets

    def end_of(self, frame: int) -> int:
        """Bytes up to and including the line of `frame`."""
        with self._path.open("rb") as file:
            file.seek(self._offsets[frame])
            return self._offsets[frame] + len(file.readline())

    def read(self, frame: int) -> FrameRecord:
        """One frame; KeyError when the file lacks it."""
        if self._file is None:
            self._file = self._path.open("rb")
        self._file.seek(self._offsets[frame])
        record = json.loads(self._file.readline())
        return FrameRecord(
            frame=record["frame"],
            masks=tuple(_object_mask(item) for item in record["masks"]),
            confidence=np.array(record.get("confidence", ()), dtype=np.float32),
            strayed=np.array(record.get("strayed", ()), dtype=np.float32),
            gone=tuple(GoneObject(*each) for each in record.get("gone", ())),
        )

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class SpanWriter:
    """Appends lines; each is handed to the system at once, so that a killed process loses none."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; nobody else may write to it."""
        self._file = path.open("ab", buffering=0)
        self.empty = self._file.tell() == 0

    def write(self, line: bytes) -> None:
        """Append one whole line."""
        view = memoryview(line)
        while view:
            view = view[self._file.write(view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def gone_of(record: FrameRecord) -> NDArray[np.float32]:
    """What a record says of the objects that are gone, as `worker.judge.Verdict` has it."""
    found = np.zeros(max((each.number for each in record.gone), default=0), dtype=np.float32)
    for each in record.gone:
        found[each.number - 1] = each.unsure
    return found


def copy_prefix(source: Path, target: Path, size: int) -> None:
    """Make `target` the first `size` bytes of `source` (cut in place when they are the same)."""
    if source == target:
        os.truncate(target, size)
        return
    with source.open("rb") as reader, target.open("wb") as writer:
        left = size
        while left and (block := reader.read(min(left, 1 << 20))):
            left -= writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())


def _object_mask(item: Mapping[str, Any]) -> ObjectMask:
    width, height = item["width"], item["height"]
    runs = parse_rle(item["rle"], width * height)
    mask = Mask(item["left"], item["top"], width, height, runs)
    return ObjectMask(
        number=item["object"],
        mask=mask,
        score=item.get("score", 0.0),
        why=item.get("why", ""),
        refined=item.get("refined", False),
    )
