"""From key frames and options to spans: what a run has to compute, and from which anchors.

`plan_run` reads the files of a run and says all that workers need beside them. The plan depends on
these files and options alone, so every machine that plans a run plans the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from config import Limits
from cvat_io.check import Inspection, inspect, require_trackable
from cvat_io.model import Meta
from cvat_io.prompts import Kind, Prompt, find_prompts, frames_of
from cvat_io.reader import open_export
from errors import InputError, one_line
from jobs.frames_text import describe, format_frames, parse_frames
from jobs.notes import engine_notes, import_notes, plan_notes
from jobs.options import KeyFrames, Mode, Prompts, RunOptions, require_fit
from jobs.ours import Ours, Places, find_ours
from jobs.renewal import Renewal, renew
from jobs.resegment import Changes, find_changes, require_same_job
from jobs.spans import Passes, SpanPlan, gaps, plan_spans

KINDS = {
    Prompts.OFF: frozenset[Kind](),
    Prompts.BOXES: frozenset({Kind.BOX}),
    Prompts.POLYGONS: frozenset({Kind.POLYGON}),
    Prompts.BOTH: frozenset(Kind),
}

__all__ = ["Origin", "RunInputs", "RunPlan", "SpanPlan", "plan_run"]


class Origin(StrEnum):
    """Which archive masks are taken from."""

    EXPORT = "export"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """The files and choices of one run.

    `annotations`: the export whose masks count (zip or XML). `images`: the archive that holds the
    frames, often the same one. `previous`: our last result of this job. `engine`: a resolved name.
    `original`: the export as received, where `annotations` is its copy with further masks: made of
    its shapes, or borrowed from the previous result. `previous_report`: the REPORT.json of
    `previous`, where it is at hand.
    """

    annotations: Path
    images: Path
    previous: Path | None
    options: RunOptions
    engine: str
    ignore_labels: frozenset[str]
    limits: Limits
    original: Path | None = None
    previous_report: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run computes and where all other frames come from.

    `key_frames`: ascending; their masks are a human's and go into the result as drawn.
    `fill`: the frames that may be filled, None for all. Others stay as drawn even where a span
    has to pass over them.
    `carried`: whose masks stay on frames that are neither key frames nor filled.
    `borrowed`: key frames that the export lacks, whose masks are the previous result's.
    `renewals`: ascending, where masks of the previous result are made anew and which stay there;
    None where all masks of a computed frame are made anew and no other one is touched.
    `seeds`: on key frames that differ from the previous result, the object (as that numbers them)
    of each tracked mask in file order, 0 for a new one.
    `anew`: masks of key frames that are left out of what was drawn there, since an earlier run
    made them and this one makes them anew; `ours`: others that an earlier run made, which stay.
    `notes`: sentences on options that change nothing.
    """

    key_frames: tuple[int, ...]
    spans: tuple[SpanPlan, ...]
    fill: frozenset[int] | None
    carried: Origin
    borrowed: frozenset[int] = frozenset()
    renewals: tuple[Renewal, ...] | None = None
    seeds: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    anew: Places = field(default_factory=dict)
    ours: Places = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def frames_total(self) -> int:
        """Frames that the spans compute."""
        return sum(span.frames_total for span in self.spans)

    def fills(self, frame: int) -> bool:
        """Whether a computed `frame` goes into the result."""
        return self.fill is None or frame in self.fill

    def to_json(self) -> str:
        """The plan as one JSON text, for a database column."""
        return json.dumps(
            {
                "key_frames": format_frames(self.key_frames),
                "spans": [asdict(span) for span in self.spans],
                "fill": None if self.fill is None else format_frames(sorted(self.fill)),
                "carried": self.carried,
                "borrowed": format_frames(sorted(self.borrowed)),
                "renewals": None if self.renewals is None else [r.to_dict() for r in self.renewals],
                "seeds": {str(frame): objects for frame, objects in sorted(self.seeds.items())},
                "anew": {str(frame): places for frame, places in sorted(self.anew.items())},
                "ours": {str(frame): places for frame, places in sorted(self.ours.items())},
                "notes": self.notes,
            }
        )

    @staticmethod
    def from_json(text: str) -> RunPlan:
        """What `to_json` wrote, now or in an earlier version."""
        data = json.loads(text)
        keys, renewals = _numbers(data["key_frames"]), data.get("renewals")
        # Plans of earlier versions took either all key frames from the previous result or none.
        borrowed = data["key_frames"] if data.get("drawn") == Origin.PREVIOUS else ""
        return RunPlan(
            key_frames=keys,
            spans=tuple(SpanPlan.from_dict(span) for span in data["spans"]),
            fill=None if data["fill"] is None else frozenset(_numbers(data["fill"])),
            carried=Origin(data["carried"]),
            borrowed=frozenset(_numbers(data.get("borrowed", borrowed))),
            renewals=None if renewals is None else tuple(map(Renewal.from_dict, renewals)),
            seeds=_by_frame(data.get("seeds", {})),
            anew=_by_frame(data.get("anew", {})),
            ours=_by_frame(data.get("ours", {})),
            notes=tuple(data.get("notes", ())),  # plans of earlier versions have none
        )


def prompts_of(inputs: RunInputs) -> list[Prompt]:
    """The shapes that the run turns into masks; [] unless its options say so.

    Raises InputError for a shape that cannot be turned into one.
    """
    kinds = KINDS[inputs.options.prompts]
    if not kinds:
        return []
    with open_export(inputs.annotations, inputs.limits) as export:
        return find_prompts(export, kinds, inputs.ignore_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A plan, and what is only for people to read.

    `meta`: the export's head. `sequence`: frames that have an image, ascending. `changes`: of a
    re-segmentation. `objects`: how many objects are followed, or at least so many where it takes a
    pass to tell which masks are one object. `ours`: masks on key frames that earlier runs made.
    """

    plan: RunPlan
    options: RunOptions
    meta: Meta
    sequence: tuple[int, ...]
    changes: Changes | None
    objects: int
    ours: Ours


def plan_run(inputs: RunInputs) -> RunPlan:
    """Plan a run; see `draft`."""
    return draft(inputs).plan


def draft(inputs: RunInputs) -> Drafted:
    """Plan a run; reads `annotations` six times at most, `previous` three times, and no pixel.

    Raises InputError for whatever a person can mend: an export that cannot be tracked, frames that
    are not the job's or leave nothing to do, a previous result of another job, a missing one.
    """
    options = inputs.options
    require_fit(options)
    inspection = inspect(inputs.annotations, inputs.limits, inputs.ignore_labels)
    elsewhere = inputs.images != inputs.annotations
    prompts = prompts_of(inputs)
    prompted = frames_of(prompts)
    require_trackable(inspection, images_elsewhere=elsewhere, prompted=bool(prompted))
    meta = inspection.meta
    sequence = _sequence(inputs, meta)
    typed = _typed(options.frames, meta, sequence, inputs.images.name)
    changes: Changes | None = None
    fill: frozenset[int] | None = None

    if options.mode is Mode.INITIAL:
        if options.reuse_previous:
            raise InputError(
                "Reusing the previous result is for re-segmentation: choose that mode, or start "
                "without it."
            )
        keys = tuple(sorted(prompted.union(inspection.key_frames)))
        fill = _to_fill(typed, keys, meta.frames.step) if typed else None
        carried = Origin.EXPORT
    else:
        changes = find_changes(
            inputs.annotations,
            inputs.previous,
            typed,
            sequence=sequence,
            reuse_previous=options.reuse_previous,
            ignore_labels=inputs.ignore_labels,
            limits=inputs.limits,
        )
        drawn_now = prompted.intersection(sequence)
        keys = tuple(sorted(drawn_now.union(changes.key_frames)))
        changes = replace(
            changes,
            key_frames=keys,
            changed=changes.changed | drawn_now,
            whole=changes.whole | drawn_now,
        )
        carried = Origin.EXPORT if inputs.previous is None else Origin.PREVIOUS

    _require_images(keys, sequence, inputs.images, "shapes" if prompted else "masks")
    renewals = _renewals(inputs, sequence, changes)
    spans = plan_spans(
        sequence,
        keys,
        direction=options.direction,
        keyframes=options.keyframes,
        fill=fill,
        changed=None if changes is None else changes.changed,
        wanted=None if renewals is None else lambda gap: renewals[gap.frames[0]][1],
    )
    if fill and not spans:
        raise InputError(
            f"What is to be filled ({format_frames(sorted(fill), meta.frames.step)}) lies before "
            f"the first key frame, {keys[0]}, where a forward pass never comes: fill in both "
            "directions."
        )
    if changes is not None and changes.changed and not spans and inputs.previous is None:
        raise InputError(
            "Nothing beside the frames "
            f"{format_frames(sorted(changes.changed), meta.frames.step)} is left to compute, since "
            "without the previous result every drawn mask counts as yours: give it too (--previous "
            "RESULT.zip)."
        )
    notes = (
        *engine_notes(options, inputs.engine),
        *import_notes(options, imported=changes is None or changes.imported),
        *plan_notes(
            options,
            {prompt.kind for prompt in prompts},
            fused=any(span.direction is Passes.BOTH for span in spans),
            computed=bool(spans),
        ),
    )
    ours = _ours(inputs, changes, typed)
    anew = ours.anew(options.direction) if spans else {}
    plan = RunPlan(
        key_frames=keys,
        spans=spans,
        fill=fill,
        carried=carried,
        borrowed=frozenset() if changes is None else changes.borrowed,
        renewals=None if renewals is None else tuple(each for each, _ in renewals.values()),
        seeds=(
            {}
            if changes is None
            else {
                frame: tuple(
                    number
                    for k, number in enumerate(changes.compared[frame].objects)
                    if k not in anew.get(frame, ())
                )
                for frame in keys
                if frame in changes.compared
            }
        ),
        anew=anew,
        ours=ours.without(anew),
        notes=notes,
    )
    return Drafted(
        plan=plan,
        options=options,
        meta=meta,
        sequence=sequence,
        changes=changes,
        objects=_objects(inspection, plan),
        ours=ours,
    )


def _ours(inputs: RunInputs, changes: Changes | None, typed: Collection[int]) -> Ours:
    """Masks on key frames that earlier runs made, where key frames are partial."""
    if changes is None or inputs.previous is None:
        return Ours()
    if inputs.options.keyframes is not KeyFrames.PARTIAL:
        return Ours()
    return find_ours(
        (inputs.annotations, inputs.previous),
        changes,
        typed,
        ignore_labels=inputs.ignore_labels,
        limits=inputs.limits,
    )


def _renewals(
    inputs: RunInputs, sequence: Sequence[int], changes: Changes | None
) -> dict[int, tuple[Renewal, bool]] | None:
    """By first frame: what stays in the gaps that a change touches, and whether they are computed.

    None where no previous result is there to keep anything of, and where key frames are partial:
    there a change may travel through all of them.
    """
    if changes is None or inputs.previous is None:
        return None
    if inputs.options.keyframes is KeyFrames.PARTIAL:
        return None
    touched = gaps(sequence, changes.key_frames, inputs.options.direction, changes.changed)
    return {gap.frames[0]: renew(gap, changes) for gap in touched}


def _objects(inspection: Inspection, plan: RunPlan) -> int:
    """How many objects there are at least: the most masks that one key frame holds."""
    counts = inspection.masks_on_frames
    return max((counts.get(frame, 0) for span in plan.spans for frame in span.anchors), default=0)


def _typed(text: str, meta: Meta, sequence: Sequence[int], images: str) -> tuple[int, ...]:
    """The typed frames that have an image; a range passes over those that were deleted."""
    there = frozenset(sequence)
    found: set[int] = set()
    for item in re.split("[,;]", text):
        named = parse_frames(item, meta.frames)
        if named and there.isdisjoint(named):
            raise InputError(
                f"Frame {named[0]} has no image in {images}: restore it in CVAT and export again, "
                "or leave it out of the frames."
            )
        found.update(there.intersection(named))
    if not found and text.strip():
        raise InputError(
            f'The frames "{one_line(text, 40)}" name no frame: give numbers and ranges such as '
            f"12,40-60; {describe(meta.frames)}."
        )
    return tuple(sorted(found))


def _to_fill(typed: Collection[int], keys: Collection[int], step: int) -> frozenset[int]:
    fill = frozenset(typed) - frozenset(keys)
    if not fill:
        are = f"Frame {min(typed)} is a key frame"
        if len(typed) > 1:
            are = f"The frames {format_frames(sorted(typed), step)} are key frames"
        raise InputError(
            f"{are}, there is nothing to fill: name frames on which you drew no mask, or none to "
            "fill all."
        )
    return fill


def _sequence(inputs: RunInputs, meta: Meta) -> tuple[int, ...]:
    """The frames that have an image, ascending; frames deleted in CVAT have none."""
    with open_export(inputs.images, inputs.limits) as source:
        other = source.meta
        numbers = tuple(sorted(source.images.keys() & set(meta.frames)))
    name = inputs.images.name
    require_same_job(other, meta, name)
    if not numbers:
        raise InputError(
            f'{name} holds no image of this job: export it again with "Save images" switched on.'
        )
    return numbers


def _require_images(
    keys: Collection[int], sequence: Sequence[int], images: Path, what: str
) -> None:
    missing = sorted(set(keys) - set(sequence))
    if missing:
        raise InputError(
            f"Frame {missing[0]} has {what} but no image in {images.name} "
            f"({len(missing)} such in all): export the job again with images, or restore the frame "
            "in CVAT."
        )


def _by_frame(data: Mapping[str, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    return {int(frame): tuple(each) for frame, each in data.items()}


def _numbers(text: str) -> tuple[int, ...]:
    return parse_frames(text, range(10**9))
