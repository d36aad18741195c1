"""From an archive of CVAT's (an export, or a result of ours with its report) to a layer's file."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from config import Limits
from cvat_io.frames import label_colours
from cvat_io.lineage import Lineage
from cvat_io.masks import format_rle
from cvat_io.model import Label, Mask
from cvat_io.note import unpack_note
from cvat_io.reader import open_export
from cvat_io.shapes import RawMask, parsed
from errors import InputError
from jobs.frames_text import noted_frames
from jobs.growth import read_divergence, read_next_frame
from jobs.layer_file import LayerWriter, packed
from jobs.layer_views import FLAGGED, MaskEntry, Presence, TimelineView
from jobs.next_frame import FrameDoubt, joined, worst_frames
from jobs.options import Direction
from jobs.sheet import AUTO
from jobs.timeline import Lanes
from jobs.views import NextFrameView

MOST_WORST = 20
_NO_DOUBT = (math.nan, "")
_FEW = 3  # runs: of so few all may be of zeros
_PLAIN = dict.fromkeys(map(ord, "0123456789,"))  # to be deleted: what is left is unusual


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """What a layer is made of.

    `annotations`: the archive. `report`: the REPORT.json of a result, which may be missing; None
    for an export. `run`: number of the result's run, `direction`: the passes that it made.
    `key_frames`: of an export.
    """

    annotations: Path
    report: Path | None = None
    run: int = 0
    direction: Direction = Direction.BOTH
    key_frames: Collection[int] = ()


def build_layer(source: LayerSource, file: IO[bytes], limits: Limits) -> None:
    """Write the layer's file to `file`, which is empty; reads the archive once.

    Memory grows with masks and frames, not with pixels. Raises InputError for an archive that
    cannot be read.
    """
    with ExitStack() as stack:
        export = stack.enter_context(open_export(source.annotations, limits))
        frames = export.meta.frames
        colours = colours_of(export.meta.labels)
        doubts = Doubts(frames, source.report)
        lineage, keys = Lineage.of(export), frozenset(source.key_frames)
        if source.report is not None:
            noted = noted_frames(unpack_note(export.comment), frames, source.annotations.name)
            keys = frozenset(noted or ())
        lanes = Lanes(len(frames), colours)
        doubts.show(lanes)
        writer = stack.enter_context(LayerWriter(file))
        for raw in export.raw_masks():
            runs = _runs(raw)
            if not runs:
                continue
            index = frames.index(raw.frame)
            number = lineage.object_of(raw)
            score, why = doubts.of(number, index)
            writer.add(index, _entry(raw, runs, number, score, why))
            if source.report is None:
                presence = Presence.KEY
            else:
                made = not math.isnan(score) and not doubts.carried(number, index)
                presence = _presence(raw, number, raw.frame in keys, made, doubts.known)
            lanes.mask(index, number, raw.label, presence)
        order = tuple(sorted(keys))
        head = {
            "first": frames[0],
            "last": frames[-1],
            "step": frames.step,
            "key_frames": order,
            "colours": colours,
            "untold": "",
        }
        try:
            objects = lanes.views()
        except InputError as exc:  # masks may be asked for all the same
            writer.finish(head | {"untold": str(exc)}, packed(None))
            return
        timeline = TimelineView(
            first=frames[0],
            last=frames[-1],
            step=frames.step,
            count=len(frames),
            key_frames=order,
            objects=objects,
            # On a key frame that is partial, what was added is in doubt too; it is a key frame.
            worst=worst_frames(
                [each for each in doubts.frames if each.frame not in keys],
                order,
                MOST_WORST,
                source.direction,
            ),
            next=_next(source),
            flagged=doubts.flagged,
        )
        writer.finish(head, packed(asdict(timeline)))


def _runs(raw: RawMask) -> str:
    """A mask's run lengths without blanks; empty where it has no pixel.

    The file was read whole when it was received or published: what is written as CVAT writes it
    needs no second look.
    """
    plain = raw.rle.replace(", ", ",")
    if plain.count(",") > _FEW and not plain.translate(_PLAIN):
        return plain
    shape = parsed(raw)
    return "" if shape is None else format_rle(shape.mask.runs).replace(" ", "")


def _entry(raw: RawMask, runs: str, number: int, score: float, why: str) -> MaskEntry:
    known = not math.isnan(score)
    return MaskEntry(
        object=number,
        label=raw.label,
        box=(raw.left, raw.top, raw.width, raw.height),
        runs=runs,
        score=round(float(score), 4) if known else None,
        why=why if known else "",
        occluded=raw.occluded,
        z=raw.z_order,
    )


def colours_of(labels: tuple[Label, ...]) -> dict[str, str]:
    """The colour of every label as `#rrggbb`."""
    return {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in label_colours(labels).items()}


def mask_of(entry: MaskEntry) -> Mask:
    """The mask that an entry holds."""
    left, top, width, height = entry.box
    runs = np.array(entry.runs.split(","), dtype=np.int32)
    return Mask(left, top, width, height, runs)


class Doubts:
    """The divergence of a report: by object and frame, and by frame for all objects together.

    `known`: whether there is a report. `flagged`: frames on which that of an object is large.
    """

    def __init__(self, frames: range, report: Path | None) -> None:
        self._frames = frames
        self._scores: dict[int, Any] = {}
        self._reasons: dict[int, Any] = {}
        self._labels: dict[int, str] = {}
        self._carried: dict[int, set[int]] = {}
        self._whys: list[str] = []
        self.frames: list[FrameDoubt] = []
        self.flagged = 0
        self.known = False
        if report is None:
            return
        try:
            for each in read_divergence(report):
                self._take(each)
            self.known = True
        except (OSError, ValueError, KeyError, TypeError):  # gone, or not as we write it
            self._scores, self.frames = {}, []
        self.flagged = sum(each.score >= FLAGGED for each in self.frames)

    def of(self, number: int, index: int) -> tuple[float, str]:
        """Divergence (NaN: not known) and what speaks most against the mask."""
        scores = self._scores.get(number)
        if scores is None:
            return _NO_DOUBT
        return scores[index], self._whys[self._reasons[number][index]]

    def carried(self, number: int, index: int) -> bool:
        """Whether an earlier run made what is there."""
        return index in self._carried.get(number, ())

    def show(self, lanes: Lanes) -> None:
        """Put all scores into the lanes of their objects."""
        for number, scores in sorted(self._scores.items()):
            for index in np.flatnonzero(~np.isnan(scores)).tolist():
                lanes.score(index, number, self._labels[number], float(scores[index]))

    def _take(self, each: dict[str, Any]) -> None:
        frame, number, label = int(each["frame"]), int(each["object"]), str(each["label"])
        score, why = float(each["score"]), str(each["why"])
        index = self._frames.index(frame)
        if number not in self._scores:
            self._scores[number] = np.full(len(self._frames), np.nan, dtype=np.float32)
            self._reasons[number] = np.zeros(len(self._frames), dtype=np.uint8)
            self._labels[number] = label
        if why not in self._whys:
            self._whys.append(why)
        self._scores[number][index] = score
        if each.get("carried"):
            self._carried.setdefault(number, set()).add(index)
        self._reasons[number][index] = self._whys.index(why)
        found = FrameDoubt(frame, 1, score, number, label, score, why)
        if self.frames and self.frames[-1].frame == frame:
            self.frames[-1] = joined(self.frames[-1], found)
        else:
            self.frames.append(found)


def _presence(raw: RawMask, number: int, key: bool, made: bool, reported: bool) -> Presence:
    """What a mask of a result is. `made`: whether the report says that its run made it.

    Its source says less: CVAT makes all of them manual, and a person may keep a mask that CVAT's
    own models made on a key frame. Masks that belong to no object are of ignored labels.
    """
    if made:
        return Presence.COMPUTED
    if not reported:
        return Presence.KEY if raw.source != AUTO and (key or not number) else Presence.COMPUTED
    return Presence.KEY if key or not number else Presence.CARRIED


def _next(source: LayerSource) -> NextFrameView | None:
    return read_next_frame(source.report, source.run) if source.report is not None else None
