"""The report of a run: speed by stage, spans, and divergence by frame and object."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypedDict

from cvat_io.atomic import replacing
from jobs.frames_text import format_frames
from jobs.next_frame import FrameDoubt, joined, next_frame
from jobs.options import Direction


class SpanTime(TypedDict):
    """One span. `start`, `stop`: first and last computed frame; `frames`: how many there are."""

    start: int
    stop: int
    frames: int
    direction: str
    seconds: float


class Growth(TypedDict):
    """What the frames of a human became.

    `human_frames`: key frames. `labelled_frames`: frames of the result with a mask that is not
    ignored, key frames among them. `ratio`: labelled frames for each human frame. `expected_iou`:
    the mean of 1 - divergence over computed frames and objects, those of earlier runs that were
    carried over too, also over those that were there and have no mask, in [0, 1]; None where there
    are none.
    """

    human_frames: int
    labelled_frames: int
    ratio: float
    expected_iou: float | None


class NextFrame(TypedDict):
    """The frame whose correction is expected to repair most, as `jobs.views.NextFrameView`."""

    frame: int
    object: int
    label: str
    score: float
    why: str
    reason: str
    repairs: float
    iou_gain: float


class LeftOut(TypedDict):
    """Frames on which an object was not written, such as "31-59,80"."""

    object: int
    label: str
    frames: str


class Cleaned(TypedDict):
    """Specks that were removed and holes that were filled, over all masks that were made."""

    specks: int
    holes: int


FLAGGED = 0.5  # a frame is flagged where the divergence of any object reaches it


class Report(TypedDict):
    """What REPORT.json holds, besides `divergence`: [{frame, object, score, label, why}].

    An entry of it has `refined` (true) too where a segmenter had a say in the mask, `gone` (true)
    where the object was there and has no mask, `left_out` (true) where its mask was not written,
    `carried` (true) where this run left it as an earlier one had made it.

    `width`, `height`: of a frame, in pixels; 0 where the export does not say. `frames_tracked` of
    the job's `frames_total` frames were computed, all others are as they were.
    `flagged_frames`: how many frames there are on which an object's divergence is 0.5 or more.
    `notices`: what people were told of the run, such as a device that is too small for the engine.
    `stages`: busy seconds of decode, track, encode and write over all spans. `seconds`: from the
    run's start to its result. `learning_seconds`: how much of it the engine learned.
    """

    engine: str
    device: str
    width: int
    height: int
    frames_total: int
    frames_tracked: int
    objects: int
    seconds: float
    frames_per_second: float
    learning_seconds: float
    growth: Growth  # before the lists: `jobs.growth` reads only the beginning
    flagged_frames: int
    notices: list[str]
    next_frame: NextFrame | None
    left_out: list[LeftOut]
    cleaned: Cleaned
    stages: dict[str, float]
    spans: list[SpanTime]


class DivergenceLog:
    """Collects divergence outside of memory while frames pass by; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where its file lies; the system's own for such files may be memory."""
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - by __exit__
        self._empty = True
        self._count = 0
        self._total = 0.0
        self.flagged = 0  # frames so far
        self._last_flagged: int | None = None
        self._frames: list[FrameDoubt] = []
        self._left_out: dict[int, tuple[str, list[int]]] = {}

    def add(
        self,
        frame: int,
        number: int,
        label: str,
        score: float,
        why: str,
        *,
        refined: bool = False,
        gone: bool = False,
        left_out: bool = False,
        carried: bool = False,
    ) -> None:
        """Note the divergence of one object (global number) on one frame; frames ascend.

        `why`: what speaks most against its mask. `refined`: whether a segmenter had a say in it.
        `gone`: whether it has none. `left_out`: whether it was not written.
        `carried`: whether an earlier run made it.
        """
        entry = {"frame": frame, "object": number, "score": score, "label": label, "why": why}
        marks = {"refined": refined, "gone": gone, "left_out": left_out, "carried": carried}
        entry |= {mark: True for mark, holds in marks.items() if holds}
        self._file.write((b"\n" if self._empty else b",\n") + b"    " + _json(entry))
        self._empty = False
        self._count += 1
        self._total += score
        if score >= FLAGGED and frame != self._last_flagged:
            self.flagged += 1
            self._last_flagged = frame
        if left_out:
            self._left_out.setdefault(number, (label, []))[1].append(frame)
        found = FrameDoubt(frame, 1, score, number, label, score, why)
        if self._frames and self._frames[-1].frame == frame:
            self._frames[-1] = joined(self._frames[-1], found)
        else:
            self._frames.append(found)

    def next_frame(self, keys: Sequence[int], direction: Direction) -> NextFrame | None:
        """The frame to correct next, of what was noted so far; `keys`: the key frames."""
        # On a key frame that is partial, what was added is in doubt too; it is a key frame.
        drawn = frozenset(keys)
        doubts = [each for each in self._frames if each.frame not in drawn]
        found = next_frame(0, doubts, keys, direction)
        if found is None:
            return None
        return NextFrame(
            frame=found.frame,
            object=found.object,
            label=found.label,
            score=found.score,
            why=found.why,
            reason=found.reason,
            repairs=found.repairs,
            iou_gain=found.iou_gain,
        )

    def left_out(self, step: int) -> list[LeftOut]:
        """What was not written; `step`: of the job's frames."""
        return [
            LeftOut(object=number, label=label, frames=format_frames(frames, step))
            for number, (label, frames) in sorted(self._left_out.items())
        ]

    def growth(self, human_frames: int, labelled_frames: int) -> Growth:
        """What so many human frames became, with the expected IoU of what was noted so far."""
        expected = 1.0 - self._total / self._count if self._count else None
        return Growth(
            human_frames=human_frames,
            labelled_frames=labelled_frames,
            ratio=round(labelled_frames / human_frames, 3) if human_frames else 0.0,
            expected_iou=None if expected is None else round(expected, 4),
        )

    def write_report(self, path: Path, report: Report) -> None:
        """Write REPORT.json: `report`, then what was collected."""
        head = json.dumps(report, indent=2)
        self._file.seek(0)
        with replacing(path) as file:
            file.write(head.removesuffix("\n}").encode() + b',\n  "divergence": [')
            for block in _blocks(self._file):
                file.write(block)
            file.write(b"]\n}\n" if self._empty else b"\n  ]\n}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _blocks(file: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: file.read(1 << 20), b"")
