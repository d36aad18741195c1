"""What the cards of the dashboard offer: actions, forms of a result, orders."""

from __future__ import annotations

from jobs import sequences
from jobs.look import Sort
from jobs.views import JobState, JobView, RunState
from web.roles import may

DOWNLOADS = (  # formats of /api/jobs/<id>/download, with what people call them
    ("cvat", "CVAT archive", "CVAT for video 1.1, to import as it is"),
    ("coco", "COCO", "instances with run lengths, and images"),
    ("masks", "Mask images", "one indexed PNG for each frame"),
    ("polygons", "Polygons", "one CVAT polygon track for each object"),
    ("overlay", "Overlay video", "an MP4 to look at"),
)
SORTS = {
    Sort.RECENT: "Latest change first",
    Sort.OLDEST: "Oldest change first",
    Sort.NAME: "By name",
    Sort.FRAMES: "Longest first",
    Sort.DOUBT: "Most doubtful first",
    Sort.REPAIR: "Most to repair first",
}


def offered(job: JobView) -> tuple[str, ...]:
    """Return what whoever asks may do with a job as it is now."""
    state, refused = job.state, bool(job.revision.refused)
    under_way = state in (JobState.QUEUED, JobState.RUNNING)
    paused = under_way and job.run is not None and job.run.state is RunState.PAUSED
    # A sequence of the studio has nothing to start from before a person drew something.
    bare = job.kind == sequences.KIND and not (job.revision.key_frames or job.results)
    fits = {
        "start": not (under_way or refused or bare) and may("api.start_run"),
        "retry": state is JobState.FAILED and job.run is not None and not refused
        and may("api.retry"),
        "resume": paused and may("api.resume"),
        "pause": under_way and not paused and may("api.pause"),
        "cancel": under_way and may("api.cancel"),
        "delete": not under_way and may("api.delete_job"),
    }  # fmt: skip
    return tuple(name for name, fit in fits.items() if fit)
