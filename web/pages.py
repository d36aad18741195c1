"""The pages for people: dashboard, one job, sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    current_app,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response as BaseResponse

from errors import InputError, NotFoundError, one_line
from jobs import audit
from jobs.frames_text import format_frames
from jobs.look import Sort
from jobs.service import Jobs
from jobs.views import Health, JobState, RunView
from web import words
from web.auth import gate, open_session, own_path
from web.board import read_board
from web.cards import DOWNLOADS, SORTS, offered
from web.context import here
from web.engines import engines, segmenters
from web.options import json_object, only_state, run_options, wanted, whole

blueprint = Blueprint("pages", __name__)
CLIENT = "vendor/socket.io.min.js"  # under static/, put there at set-up
MOST_IN_A_BOX = 500
WRONG_KEY = (
    "This is no key of this server: give the one it was started with (AGENT_KEY, or the line in "
    "agent.key in its DATA_DIR), or a token that was not revoked."
)
REFRESH = "Mask-Relay-Refresh"  # header of a page that brings itself up to date


@dataclass(frozen=True, slots=True)
class Box:
    """One column of the dashboard."""

    state: JobState
    title: str
    empty: str  # what to say while it holds nothing


BOXES = (
    Box(JobState.READY, "Ready", "Drop an export here to begin."),
    Box(JobState.QUEUED, "Queued", "Nothing waits."),
    Box(JobState.RUNNING, "In progress", "Nothing is being tracked."),
    Box(JobState.COMPLETED, "Completed", "Results will be here."),
    Box(JobState.FAILED, "Failed", "Nothing has failed."),
)


@blueprint.get("/")
def dashboard() -> str:
    """Show the five boxes; readable without JavaScript."""
    context = here()
    look, only = wanted(request), only_state(request)
    # One box alone has the whole width.
    limit = whole(request, "limit", 60 if only else 20, 1, MOST_IN_A_BOX)
    asked = {
        "search": look.search,
        "label": look.label,
        "sort": "" if look.sort is Sort.RECENT else look.sort.value,
        "state": only.value if only else "",
    }
    return render_template(
        "dashboard.html",
        board=context.call(read_board, context.jobs, look, limit=limit),
        boxes=BOXES,
        look=look,
        only=only,
        asked=asked,
        link=lambda **others: url_for(
            "pages.dashboard",
            **{name: value for name, value in (asked | others).items() if value},
        ),
        labels=context.call(context.jobs.labels),
        sorts=SORTS,
        most=MOST_IN_A_BOX,
        **head(),
    )


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> str | BaseResponse:
    """Show one job: facts, runs, revisions, log, downloads.

    An open page whose job was deleted is led to the dashboard: for it that is no error.
    """
    context = here()
    try:
        detail = context.call(context.jobs.job, job_id)
    except NotFoundError:
        if REFRESH in request.headers:
            return redirect(url_for("pages.dashboard"), 303)
        raise _no_job(job_id) from None
    return render_template("job.html", detail=detail, **head())


@blueprint.get("/jobs/<job_id>/panel")
def panel(job_id: str) -> str:
    """Show one job frame by frame; all of its state is the session's."""
    context = here()
    try:
        found = context.call(context.jobs.job, job_id).job
    except NotFoundError:
        raise _no_job(job_id) from None
    sentence = found.revision.refused
    if not sentence and not context.call(_has_pictures, context.jobs, job_id):
        sentence = (
            "This export has no images, so there is nothing to look at. In CVAT export it again "
            "with Save images ticked and upload it here; what is computed stays."
        )
    return render_template("panel.html", job=found, client=_client(), sentence=sentence)


@blueprint.post("/jobs/<job_id>/plan")
def plan(job_id: str) -> str:
    """Say in words what a run would compute, or the sentence why it cannot run.

    Answers 200 in both cases: the form asks at every keystroke, and a choice that is not finished
    is no error of the page.
    """
    context = here()
    try:
        options = run_options(json_object(request))
        planned = context.call(context.jobs.plan, job_id, options)
    except NotFoundError:
        return render_template("parts/plan.html", sentence=str(_no_job(job_id)))
    except InputError as error:
        return render_template("parts/plan.html", sentence=str(error))
    return render_template(
        "parts/plan.html",
        sentence="",
        plan=words.plan(planned, options),
        expected=words.expected(planned),
        changes=words.changes(planned),
        conflicts=words.conflicts(planned),
        beyond=words.beyond(planned),
        notes=planned.notes,
        startable=bool(planned.spans) or planned.writes,
        frames=planned.frames_total,
        spans=len(planned.spans),
        seconds=planned.expected.seconds,
    )


@blueprint.get("/sign-in")
def sign_in_form() -> str:
    """Show the sign-in form."""
    return render_template("sign_in.html", next=own_path(request.args.get("next", "/")), problem="")


@blueprint.post("/sign-in")
def sign_in() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Open a session for who knows the key or has a token."""
    target = own_path(request.form.get("next", "/"))
    if not gate().needs_key():
        return redirect(target, 303)
    try:
        who = gate().by_key(request.form.get("key", ""), request.remote_addr or "")
    except TooManyRequests as error:
        page = render_template("sign_in.html", next=target, problem=error.description)
        return page, 429, {"Retry-After": str(error.retry_after)}
    if who is None:
        return render_template("sign_in.html", next=target, problem=WRONG_KEY), 401
    open_session(who)
    context = here()
    with audit.acting(who.name):
        context.call(audit.note, context.jobs.database, "sign in")
    return redirect(target, 303)


@blueprint.post("/sign-out")
def sign_out() -> BaseResponse:
    """Close the session."""
    session.clear()
    return redirect(url_for("pages.sign_in_form"), 303)


@blueprint.get("/favicon.ico")
def favicon() -> BaseResponse:
    """Send browsers that ask by habit to the drawing."""
    return redirect(url_for("static", filename="favicon.svg"), 301)


def install_words(app: Flask) -> None:
    """Teach the templates to say sizes, times and progress."""
    app.jinja_env.filters.update(
        size=words.size,
        duration=words.duration,
        moment=words.moment,
        clock=words.clock,
        breakable=words.breakable,
        passes=words.passes,
        iso=words.iso,
        few=words.few,
        masks=words.masks,
        count=words.count,
        recomputed=words.recomputed,
        share=words.share,
        can=offered,
    )
    app.jinja_env.globals.update(segments=segments, downloads=DOWNLOADS)


def segments(run: RunView) -> tuple[Segment, ...]:
    """Return the run's progress bar: one segment for each span, as wide as its frames."""
    spans = [span for span in run.spans if span.frames_total > 0 and span.direction != "assemble"]
    total = sum(span.frames_total for span in spans)
    bar, left = [], 0.0
    for span in sorted(spans, key=lambda span: span.start):
        width = 100 * span.frames_total / total
        done = width * min(1.0, span.frames_done / span.frames_total)
        title = f"Frames {span.start} to {span.stop}: {span.state.value}"
        bar.append(Segment(left, width, done, span.state.value, title))
        left += width
    if not bar and run.frames_total:
        done = 100 * min(1.0, run.frames_done / run.frames_total)
        bar.append(Segment(0, 100, done, run.state.value, "All frames"))
    return tuple(bar)


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a progress bar, in percent of its width."""

    left: float
    width: float
    done: float
    state: str
    title: str


def head() -> dict[str, Any]:
    """Read what the head of every page shows, by name, for its template."""
    context = here()
    health = context.call(context.pulse.health)
    workers = context.call(context.jobs.workers)
    # The embedded broker rests while nobody needs it, and starts again with the next run.
    resting = not workers and not context.settings.broker_url
    return {
        "health": health,
        "workers": workers,
        "counts": context.call(context.jobs.counts),
        "disk_free": context.pulse.disk_free_bytes(),
        "broker": "at rest" if resting and health.broker != "ok" else health.broker,
        "trouble": (*_trouble(health, "ok" if resting else health.broker), *words.waiting(workers)),
        "client": _client(),
        "signed_in": g.who.name != audit.LOCAL,
        "engines": engines(workers),
        "segmenters": segmenters(workers),
        "engine": context.settings.engine,
    }


def _has_pictures(jobs: Jobs, job_id: str) -> bool:
    frames = jobs.pictures.frames(job_id)
    whole = format_frames(range(frames.first, frames.last + 1, frames.step), frames.step)
    return frames.missing != whole


def _client() -> str:
    """Return where under static/ the client of live events lies, "" where it is not installed."""
    return CLIENT if (Path(current_app.static_folder or "") / CLIENT).is_file() else ""


def _no_job(job_id: str) -> NotFoundError:
    return NotFoundError(
        f'There is no job "{one_line(job_id, 120)}": it was deleted, or its name is another.'
    )


def _trouble(health: Health, broker: str) -> tuple[str, ...]:
    parts = (("Database", health.database), ("Disk", health.disk), ("Broker", broker))
    return tuple(
        f"{part}: {state.removeprefix('degraded: ')}" for part, state in parts if state != "ok"
    )
