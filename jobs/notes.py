"""Options of a run that change nothing: no errors, but nobody should wait for their effect."""

from __future__ import annotations

from collections.abc import Collection

from cvat_io.prompts import Kind
from jobs.options import BUILTIN_SEGMENTER, MemoryKeeps, Prompts, RunOptions

_AUTO = "auto"
_LEARNS = "builtin"  # the beginning of the names of engines that learn, with random numbers
_REMEMBERS = "deaot-"  # of those whose long-term memory can be chosen
_NEVER_BY_ITSELF = ("deaot-t", "deaot-s", "deaot-b")  # remember key frames alone, without a gap


def engine_notes(options: RunOptions, engine: str) -> tuple[str, ...]:
    """What an engine does not use; nothing of "auto", before it is settled which one that is."""
    if engine == _AUTO:
        return ()
    notes = []
    memory = _memory(options)
    if memory and not engine.startswith(_REMEMBERS):
        notes.append(
            f"{_listed(memory)} {_changes(memory)} nothing here: only the deaot engines have such "
            f"a memory, and the engine is {engine}."
        )
    elif memory and engine in _NEVER_BY_ITSELF and not options.memory_gap:
        notes.append(
            f"{_listed(memory)} {_changes(memory)} nothing here: without memory-gap {engine} "
            "remembers the key frame alone."
        )
    if options.seed and not engine.startswith(_LEARNS):
        notes.append(f"seed changes nothing here: {engine} draws no random numbers.")
    return tuple(notes)


def import_notes(options: RunOptions, *, imported: bool) -> tuple[str, ...]:
    """That empty frames are filled, where the export shows no trace of our result.

    `imported`: whether it was made after that was imported, as far as can be seen.
    """
    if imported or options.reuse_previous:
        return ()
    return (
        "The last result seems not to have been imported before this export was made (most of the "
        "frames that it filled are empty, or none is as it was): empty frames say nothing and are "
        "filled again; type those that you emptied on purpose.",
    )


def plan_notes(
    options: RunOptions, shapes: Collection[Kind], *, fused: bool, computed: bool
) -> tuple[str, ...]:
    """What finds nothing to do in a run.

    `shapes`: kinds of those that are turned into masks. `fused`: whether any span is computed by
    passes from both sides; `computed`: whether any is at all.
    """
    notes = []
    for kind, wanted, word in (
        (Kind.BOX, (Prompts.BOXES, Prompts.BOTH), "rectangle"),
        (Kind.POLYGON, (Prompts.POLYGONS, Prompts.BOTH), "polygon"),
    ):
        if options.prompts in wanted and kind not in shapes:
            notes.append(
                f"prompts asks for masks of every {word}, but the export has none that lacks its "
                "mask."
            )
    if options.refine and not fused:
        notes.append(
            "refine changes nothing here: no frame lies between two key frames with passes from "
            "both sides."
        )
    used = (options.refine and fused) or Kind.BOX in shapes
    if options.segmenter != BUILTIN_SEGMENTER and not used and not notes:
        notes.append(
            f"The segmenter {options.segmenter} is asked nothing here: only rectangles (prompts) "
            "and doubtful frames (refine) need one."
        )
    for name, pixels in (("min-speck", options.min_speck), ("min-hole", options.min_hole)):
        if pixels and not computed:
            notes.append(
                f"{name} changes nothing here: only masks that are made in this run are cleaned, "
                "and none is."
            )
        elif pixels == 1:
            notes.append(
                f"{name} 1 changes nothing: nothing has fewer pixels than one; give 2 or more."
            )
    return tuple(notes)


def _memory(options: RunOptions) -> list[str]:
    """The options of memory that are not as an engine is made."""
    given = {
        "memory-frames": options.memory_frames,
        "memory-gap": options.memory_gap,
        "memory-keeps": options.memory_keeps is not MemoryKeeps.KEY_FRAMES,
    }
    return [name for name, value in given.items() if value]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _changes(names: list[str]) -> str:
    return "change" if len(names) > 1 else "changes"
