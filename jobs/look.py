"""What of the list of jobs somebody wants to see, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, case, func

from jobs import label_text
from jobs.models import Job, Revision, Run

_FRAMES = Revision.summary["frames"].as_integer()
# Jobs of which no doubt is known come last, in both kinds of database.
_SHARE = case(
    (Run.flagged_frames.is_(None), -1.0),
    (_FRAMES > 0, Run.flagged_frames * 1.0 / _FRAMES),
    else_=0.0,
)
# IoU that the correction of the next frame is expected to bring; where none would, or none is known
# (a job before its first result among them), nothing.
_REPAIR = case(
    (Run.next_frame.is_(None), 0.0),
    else_=Run.next_frame["repairs"].as_float(),
)


class Sort(StrEnum):
    """In which order jobs are listed."""

    RECENT = "recent"  # the one that changed last first
    OLDEST = "oldest"  # the one that changed last comes last
    NAME = "name"
    FRAMES = "frames"  # the longest first
    DOUBT = "doubt"  # the largest share of flagged frames first
    REPAIR = "repair"  # the one in which the next correction repairs most first


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What of the list of jobs is wanted. `search`: in ids and names; `label`: drawn in the job."""

    search: str = ""
    label: str = ""
    sort: Sort = Sort.RECENT

    def fits(self) -> list[ColumnElement[bool]]:
        """What a job has to be to be shown."""
        fits: list[ColumnElement[bool]] = [Job.deleted.is_(False)]
        if self.search:
            fits.append(
                Job.id.icontains(self.search, autoescape=True)
                | Job.name.icontains(self.search, autoescape=True)
            )
        if self.label:
            fits.append(Job.labels.contains(label_text.wanted(self.label), autoescape=True))
        return fits

    def order(self) -> list[ColumnElement[Any]]:
        """Of jobs that are joined with their latest revisions and runs."""
        orders: dict[Sort, list[ColumnElement[Any]]] = {
            Sort.RECENT: [Job.updated.desc()],
            Sort.OLDEST: [Job.updated.asc()],
            Sort.NAME: [func.lower(Job.name)],
            Sort.FRAMES: [_FRAMES.desc(), Job.updated.desc()],
            Sort.DOUBT: [
                # Where nothing is known of doubt comes last, in both kinds of database.
                _SHARE.desc(),
                Job.updated.desc(),
            ],
            Sort.REPAIR: [_REPAIR.desc(), Job.updated.desc()],
        }
        return [*orders[self.sort], Job.id.asc()]
