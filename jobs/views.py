"""What the rest of the house sees of jobs: states and read-only views.

These are the values that the API returns as JSON (`dataclasses.asdict`), the pages show and the CLI
prints. Times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobs.options import RunOptions


class JobState(StrEnum):
    """The box of the dashboard in which a job lies; follows from its latest revision and run."""

    READY = "ready"  # a revision is here and waits for a person to start a run
    QUEUED = "queued"  # a run waits for its first span to be claimed, or was paused
    RUNNING = "running"  # at least one span was claimed
    COMPLETED = "completed"  # the latest run published its result
    FAILED = "failed"  # the latest revision was refused, or the latest run failed or was cancelled


class RunState(StrEnum):
    """Where one execution stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"  # a person holds it; finished frames are kept, and resuming goes on
    DONE = "done"  # the result is published and verified
    FAILED = "failed"  # `error` says why; finished frames are kept for a retry
    CANCELLED = "cancelled"  # a person stopped it; finished frames are kept


class SpanState(StrEnum):
    """Where one span stands."""

    QUEUED = "queued"  # waits for a worker (again, after an expired lease)
    LEASED = "leased"  # a worker holds the lease and renews it
    DONE = "done"
    FAILED = "failed"  # gave up after the last attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelView:
    """A label as a page shows it. `color` is `#rrggbb` or empty."""

    name: str
    color: str
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """One uploaded export. `refused` is the sentence why it cannot be tracked, or empty."""

    number: int  # 1, 2, ... within its job
    sha256: str
    bytes: int
    received: float
    has_images: bool
    frames: int
    first_frame: int
    last_frame: int
    step: int
    width: int
    height: int
    key_frames: tuple[int, ...]
    labels: tuple[LabelView, ...]
    warnings: tuple[str, ...]
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanView:
    """One span of a run; `start`, `stop` are its first and last frame, inclusive."""

    ordinal: int
    start: int
    stop: int
    direction: str  # "forward", "backward", "both"; "learn": the objects; "assemble": the result
    state: SpanState
    attempts: int
    frames_done: int
    frames_total: int
    worker: str  # who computes or computed it; empty before
    seconds: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One execution. `eta_seconds` is None while nothing can be said yet.

    `learning`: whether it runs, but its engine still learns the objects, before any frame is
    tracked. `frames_per_second` counts from the end of that. `flagged_frames`: frames of the result
    on which something has a divergence of 0.5 or more; None where that is not known.
    `next_frame`: the frame of the result to correct next; None where no correction would gain, and
    where that is not known. `notices`: sentences for people, such as that a graphics card is too
    small for all of the engine, or that an option changes nothing.
    """

    number: int  # 1, 2, ... within its job
    revision: int
    state: RunState
    learning: bool = False
    options: RunOptions
    engine: str
    created: float
    started: float | None
    finished: float | None
    frames_done: int
    frames_total: int  # frames that are to be computed
    frames_in_job: int
    frames_per_second: float
    eta_seconds: float | None
    workers: tuple[str, ...]
    spans: tuple[SpanView, ...]  # empty in lists, filled in JobDetail
    result_bytes: int
    result_sha256: str
    error: str
    flagged_frames: int | None = None
    next_frame: NextFrameView | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedView:
    """How long a run is likely to take, in seconds, and what that rests on."""

    seconds: float
    basis: str  # such as "measured in 3 earlier runs of builtin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """What a person did with masks of one label. `was`: the label before, of moved ones.

    `kind`: "added", "edited", "moved" (to another label), "attributes" (same pixels, other values),
    "deleted" or "placed" (occluded or z-order alone, for which nothing is computed). `frames`: as
    text, the first dozen ranges.
    """

    kind: str
    label: str
    was: str
    masks: int
    frames: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSpanView:
    """One span of a plan; `start`, `stop` are its first and last frame, inclusive."""

    ordinal: int
    start: int
    stop: int
    direction: str
    frames_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """What a run would do. `objects`: how many it follows at least.

    `frames_total` of the `frames_in_job` are computed; where it is none, `writes` says whether the
    result would differ all the same, such as where masks are taken away. `changes` and `conflicts`
    (what could be taken in two ways, and how it is taken) are of a re-segmentation, and are told up
    to a bound; `given_up`: frames that were a person's and are no more, as text. `beyond`:
    sentences on objects whose masks are taken away, or go on, where the spans do not tell it.
    `notes`: sentences on options that change nothing.
    """

    frames_total: int
    frames_in_job: int
    objects: int
    key_frames: tuple[int, ...]
    spans: tuple[PlannedSpanView, ...]
    writes: bool
    expected: ExpectedView
    changes: tuple[ChangeView, ...]
    changes_left_out: int
    given_up: str
    conflicts: tuple[str, ...]
    conflicts_left_out: int
    beyond: tuple[str, ...]
    beyond_left_out: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One line of a job's log."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as a card shows it; `run` is the latest run on the latest revision, if any.

    `reason` is the sentence to show for a failed job, else empty.
    `results`: numbers of runs whose result can be downloaded, newest first. `has_images`: whether
    images of its frames are here, be they of an earlier export.
    """

    id: str
    name: str  # the archive's name without .zip, as it was given
    kind: str  # "job", "task", or empty for a refused archive
    cvat_id: str
    state: JobState
    created: float
    updated: float
    revision: RevisionView
    run: RunView | None
    results: tuple[int, ...]
    has_images: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthView:
    """How many labelled frames a person's frames became, in the published result of `run`.

    `human_frames`: key frames. `labelled_frames`: frames with a mask whose label is not ignored,
    key frames among them. `ratio`: labelled frames for each human frame. `expected_iou`: the mean
    of 1 - divergence over the frames and objects that the run computed, in [0, 1]; None where it
    computed none.
    """

    run: int
    human_frames: int
    labelled_frames: int
    ratio: float
    expected_iou: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextFrameView:
    """The frame whose correction is expected to repair most of the published result of `run`.

    `object`, `label`: what is most in doubt there, `score`: its divergence in [0, 1], `why`: what
    speaks most against it, as a name, `reason`: the same in words. `repairs`: expected IoU gained,
    summed over all masks (1.0: one mask that was all wrong becomes right). `iou_gain`: by how much
    the mean IoU of the computed masks is expected to rise.
    """

    run: int
    frame: int
    object: int
    label: str
    score: float
    why: str
    reason: str
    repairs: float
    iou_gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutView:
    """Frames on which an object was not written, since its divergence had reached the limit.

    `frames`: such as "31-59,80".
    """

    object: int
    label: str
    frames: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetail:
    """One job with its history: revisions and runs newest first, the log oldest first.

    `growth`, `next_frame`, `left_out`: of the newest published result; None and empty before there
    is one.
    """

    job: JobView
    revisions: tuple[RevisionView, ...]
    runs: tuple[RunView, ...]
    log: tuple[EventView, ...]
    growth: GrowthView | None = None
    next_frame: NextFrameView | None = None
    left_out: tuple[LeftOutView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """A page of the list of jobs; `counts` over all jobs that fit the search."""

    jobs: tuple[JobView, ...]
    counts: dict[str, int]  # by JobState value
    total: int
    notices: tuple[str, ...]  # such as malformed lines in updates.txt


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker that was seen lately.

    `engines`: the engines and segmenters that it can run, those with published weights among them
    only where it has these.
    """

    name: str
    host: str
    device: str
    last_seen: float
    doing: str  # such as "job 264, frames 31 to 59"; empty when idle
    trouble: str  # why it waits, such as a full disk; empty when all is well
    gpu_bytes: int | None  # in use on its GPU, by whomever; None without one
    gpu_bytes_total: int | None
    memory_bytes: int | None = None  # of its process; None where the system does not say
    engines: tuple[str, ...] = ()


class Role(StrEnum):
    """What the holder of a token may do; each role may also do what those before it may."""

    VIEWER = "viewer"  # read
    ANNOTATOR = "annotator"  # upload, start, cancel, retry, pause, resume
    ADMIN = "admin"  # delete

    def allows(self, needed: Role) -> bool:
        """Whether this role may do what needs `needed`."""
        order = tuple(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token without its secret. Times are seconds since the epoch."""

    name: str
    role: Role
    created: float
    last_used: float | None
    revoked: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """One action of a person: who did what, to which job (empty: to none)."""

    at: float
    actor: str
    action: str
    job_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the server can take work. `ready` needs database and disk; the broker may be away."""

    ready: bool
    database: str  # "ok" or what is wrong
    disk: str
    broker: str  # "ok", or "degraded: ..." (work is then found by polling)
    workers: int
