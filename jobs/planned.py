"""A plan as people and programs see it before it runs: what changed, what is computed, how long."""

from __future__ import annotations

from jobs.beyond import beyond
from jobs.frame_change import ChangeKind, MaskChange, changes_of
from jobs.frames_text import format_few
from jobs.plan import Drafted
from jobs.resegment import Changes
from jobs.views import ChangeView, ExpectedView, PlannedSpanView, PlanView

MOST_GROUPS = 24  # kinds of changes and labels that are told
MOST_CONFLICTS = 12
MOST_BEYOND = 12  # objects of which is said what becomes of them elsewhere


def plan_view(drafted: Drafted, expected: ExpectedView) -> PlanView:
    """What a run would do; its lists are bounded, and say how much they leave out."""
    plan, step = drafted.plan, drafted.meta.frames.step
    groups = _groups(drafted.changes, step)
    conflicts = _conflicts(drafted.changes)
    elsewhere = beyond(drafted)
    given_up = drafted.changes.given_up if drafted.changes is not None else ()
    return PlanView(
        frames_total=plan.frames_total,
        frames_in_job=len(drafted.meta.frames),
        objects=drafted.objects,
        key_frames=plan.key_frames,
        spans=tuple(
            PlannedSpanView(
                ordinal=span.ordinal,
                start=span.start,
                stop=span.stop,
                direction=span.direction.value,
                frames_total=span.frames_total,
            )
            for span in plan.spans
        ),
        # Also where no pass is needed, masks may be taken away, or others be drawn.
        writes=bool(plan.spans) or any(each.kind != ChangeKind.PLACED for each in groups),
        expected=expected,
        changes=tuple(groups[:MOST_GROUPS]),
        changes_left_out=max(0, len(groups) - MOST_GROUPS),
        given_up=format_few(given_up, step),
        conflicts=tuple(conflicts[:MOST_CONFLICTS]),
        conflicts_left_out=max(0, len(conflicts) - MOST_CONFLICTS),
        beyond=tuple(elsewhere[:MOST_BEYOND]),
        beyond_left_out=max(0, len(elsewhere) - MOST_BEYOND),
        notes=plan.notes,
    )


def _groups(changes: Changes | None, step: int) -> list[ChangeView]:
    """Changes of one kind and label together, most telling first."""
    found: dict[tuple[ChangeKind, str, str], list[MaskChange]] = {}
    for change in _told(changes):
        found.setdefault((change.kind, change.label, change.was), []).append(change)
    order = list(ChangeKind)
    return [
        ChangeView(
            kind=kind.value,
            label=label,
            was=was,
            masks=len(each),
            frames=format_few(sorted({change.frame for change in each}), step),
        )
        for (kind, label, was), each in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[0][1:])
        )
    ]


def _told(changes: Changes | None) -> list[MaskChange]:
    """Changes on frames that are a human's; of frames that were given up there is nothing to say.

    Frames that differ in how masks are placed alone are told too.
    """
    if changes is None:
        return []
    given_up = set(changes.given_up)
    return [each for each in changes_of(changes.compared) if each.frame not in given_up]


def _conflicts(changes: Changes | None) -> list[str]:
    if changes is None:
        return []
    given_up = set(changes.given_up)
    return [
        conflict.sentence
        for frame in sorted(changes.compared)
        if frame not in given_up
        for conflict in changes.compared[frame].conflicts
    ]
