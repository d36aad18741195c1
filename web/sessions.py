"""Live sessions over HTTP: a job's frames and masks as people and an engine change them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request

from errors import ConflictError, InputError, NotFoundError, one_line
from jobs.session_edits import RangeAction
from jobs.session_steps import OPEN
from web.context import here
from web.engines import OWN, PUBLISHED, SEGMENTERS, session_engines
from web.fields import Fields
from web.options import json_object, whole
from web.text import is_plain

blueprint = Blueprint("sessions", __name__, url_prefix="/api/jobs/<job_id>/session")
MASKS_BYTES = 16 * 2**20  # of a body that holds masks
MOST_MASKS = 500  # in one edit
MOST_WAIT = 25  # seconds that a client may wait for changes
LOOK_SECONDS = 0.05  # between two looks for changes
ANSWER_SECONDS = 0.005  # between two looks for a worker's answer
MOST_POINTS = 200  # of one object
_LAST_ID = 2**53
_LAST_FRAME = 2**31 - 1
_MOST_CLIENT = 40  # characters


@blueprint.get("")
def view(job_id: str) -> Response:
    """Return the session, which begins where there is none yet."""
    context = here()
    found = context.call(context.jobs.sessions.view, job_id)
    workers = context.call(context.jobs.workers)
    engines = session_engines(workers, found.engine, learned=found.learned)
    return jsonify(replace(found, engines=engines))


@blueprint.get("/frames/<int:frame>")
def frame(job_id: str, frame: int) -> Response:
    """Return a frame with its masks."""
    context = here()
    if frame > _LAST_FRAME:
        raise InputError(f"{frame} is no frame of the job: give a smaller number.")
    return jsonify(context.call(context.jobs.sessions.frame, job_id, frame))


@blueprint.get("/changes")
def changes(job_id: str) -> Response:
    """Return what changed since a version; wait for it where asked to."""
    context = here()
    sessions = context.jobs.sessions
    since = whole(request, "since", 0, 0, 2**53)
    until = time.monotonic() + whole(request, "wait", 0, 0, MOST_WAIT)
    client = request.args.get("client", "")
    if client:
        if len(client) > _MOST_CLIENT or not is_plain(client):
            raise InputError("client= names your page: give a short plain text, such as a UUID.")
        context.call(sessions.see, job_id, client)
    version, around = context.call(sessions.version, job_id)
    # Short looks, and sleep between them that lets others run: a wait in a thread of the pool would
    # keep it from everybody else.
    while version <= since and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        version, now = context.call(sessions.version, job_id)
        if now != around:
            break
    return jsonify(context.call(sessions.changes, job_id, since, client))


@blueprint.post("/step")
def step(job_id: str) -> Response:
    """Let a worker compute frames; answer with the first of them where it is waited for."""
    context, body = here(), Fields(json_object(request))
    first, last = body.number("from"), body.number("to")
    stop_at, wait = body.share_or_none("stop_at"), body.flag("wait", False)
    body.end()
    asked = context.call(context.jobs.sessions.ask_step, job_id, first, last, stop_at)
    if not wait:
        return jsonify(id=asked, frame=None, seconds=None)
    answer = _wait(job_id, asked)
    found = None
    if "frame" in answer:
        found = context.call(context.jobs.sessions.frame, job_id, answer["frame"])
    return jsonify(id=asked, frame=found, seconds=answer.get("seconds"))


@blueprint.get("/steps/<int:step_id>")
def look(job_id: str, step_id: int) -> Response:
    """Return how a request stands."""
    context = here()
    if step_id > _LAST_ID:
        raise NotFoundError("There is no such request in this session.")
    state, answer, error = context.call(context.jobs.sessions.step, job_id, step_id)
    return jsonify(id=step_id, state=state, answer=answer, error=error)


@blueprint.post("/stop")
def stop(job_id: str) -> Response:
    """End what workers do for the session, at the frame at hand."""
    context = here()
    Fields(json_object(request)).end()
    return jsonify(stopped=context.call(context.jobs.sessions.stop, job_id))


@blueprint.post("/prepare")
def prepare(job_id: str) -> Response:
    """Let a worker make itself ready for steps and clicks on a frame."""
    context, body = here(), Fields(json_object(request))
    frame, learn = body.number("frame"), body.flag("learn", False)
    body.end()
    return jsonify(id=context.call(context.jobs.sessions.ask_prepare, job_id, frame, learn))


@blueprint.post("/segment")
def segment(job_id: str) -> Response:
    """Return the mask that clicks and a box mean; nothing is saved."""
    context, body = here(), Fields(json_object(request))
    frame, points, box = body.number("frame"), body.anything("points"), body.anything("box")
    number, refine = body.number_or_none("object"), body.flag("refine", False)
    body.end()
    if refine and number is None:
        raise InputError("refine mends an object's mask: name the object.")
    points = [_point(each) for each in points or []] if isinstance(points, list | None) else None
    if points is None or len(points) > MOST_POINTS or not (points or box):
        raise InputError(
            f"points is a list of at most {MOST_POINTS} [x, y, 1 or 0], and box is "
            "[x0, y0, x1, y1]: give one of them."
        )
    if box is not None and not (_numbers(box, 4) and box[0] < box[2] and box[1] < box[3]):
        raise InputError("box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1: give such a one.")
    mended = number if refine else None
    asked = context.call(context.jobs.sessions.ask_segment, job_id, frame, points, box, mended)
    answer = _wait(job_id, asked)
    if "mask" not in answer:
        # Clicks that nobody waits for must not stand before later ones.
        context.call(context.jobs.sessions.give_up, job_id, asked)
        raise ConflictError("No worker has answered yet: try again in a moment.")
    return jsonify(mask=answer["mask"], score=answer["score"])


@blueprint.post("/edit")
def edit(job_id: str) -> Response:
    """Set masks of objects on a frame, which becomes a person's."""
    context = here()
    body = Fields(json_object(request, MASKS_BYTES))
    frame = body.number("frame")
    items = body.items("masks")
    if len(items) > MOST_MASKS:
        raise InputError(
            f"{len(items)} masks are too many for one edit: give at most {MOST_MASKS}."
        )
    if not body.flag("key", True):
        raise InputError(
            "A frame on which somebody draws is that person's: leave key out, or give true."
        )
    body.end()
    masks = [_mask(item) for item in items]
    return jsonify(context.call(context.jobs.sessions.edit, job_id, frame, masks))


@blueprint.post("/copy")
def copy(job_id: str) -> Response:
    """Take masks over from another frame."""
    context, body = here(), Fields(json_object(request))
    frame, source = body.number("frame"), body.number("from")
    objects = body.numbers_or_none("objects")
    body.end()
    return jsonify(context.call(context.jobs.sessions.copy, job_id, frame, source, objects))


@blueprint.post("/range")
def on_range(job_id: str) -> Response:
    """Do something with objects on a range of frames."""
    context, body = here(), Fields(json_object(request))
    action = body.one_of("action", tuple(RangeAction))
    objects = body.numbers_or_none("objects")
    first, last = body.number("from"), body.number("to")
    body.end()
    done = context.call(context.jobs.sessions.on_range, job_id, action, objects, first, last)
    return jsonify(done)


@blueprint.post("/key")
def key(job_id: str) -> Response:
    """Make a frame's masks a person's, or let them be computed again."""
    context, body = here(), Fields(json_object(request))
    frame, is_key = body.number("frame"), body.flag("key", True)
    body.end()
    return jsonify(context.call(context.jobs.sessions.set_key, job_id, frame, is_key))


@blueprint.post("/objects")
def objects(job_id: str) -> Response:
    """Add, rename, relabel, merge, split, end or start objects."""
    context, body = here(), Fields(json_object(request))
    action = body.one_of("action", tuple(_OBJECTS))
    arguments = _OBJECTS[action](body)
    body.end()
    return jsonify(context.call(context.jobs.sessions.on_objects, job_id, action, *arguments))


@blueprint.post("/undo")
def undo(job_id: str) -> Response:
    """Take back the last change of whoever asks."""
    return _take_back(job_id, "undo")


@blueprint.post("/redo")
def redo(job_id: str) -> Response:
    """Do again what whoever asks took back last."""
    return _take_back(job_id, "redo")


@blueprint.post("/engine")
def engine(job_id: str) -> Response:
    """Follow objects with another engine, or answer clicks with another segmenter."""
    context, body = here(), Fields(json_object(request))
    engine, segmenter = body.text("engine", ""), body.text("segmenter", "")
    body.end()
    if engine and engine not in (known := {**OWN, **PUBLISHED}):
        shown = one_line(repr(engine), 60)
        raise InputError(f"There is no engine named {shown}: use one of {', '.join(known)}.")
    if segmenter and segmenter not in SEGMENTERS:
        shown = one_line(repr(segmenter), 60)
        raise InputError(
            f"There is no segmenter named {shown}: use one of {', '.join(SEGMENTERS)}."
        )
    return jsonify(context.call(context.jobs.sessions.choose_engine, job_id, engine, segmenter))


@blueprint.post("/accept")
def accept(job_id: str) -> Response:
    """Publish frames as a run."""
    context, body = here(), Fields(json_object(request))
    until = body.number_or_none("until")
    body.end()
    return jsonify(context.call(context.jobs.sessions.accept, job_id, until))


@blueprint.post("/reset")
def reset(job_id: str) -> Response:
    """Begin anew from what is newest."""
    context = here()
    Fields(json_object(request)).end()
    return jsonify(context.call(context.jobs.sessions.reset, job_id))


def _wait(job_id: str, step_id: int) -> dict[str, Any]:
    """Wait for a request's first answer; {} where none came in time. Raises ConflictError."""
    context = here()
    began = time.monotonic()
    while (waited := time.monotonic() - began) < MOST_WAIT:
        state, answer, error = context.call(context.jobs.sessions.step, job_id, step_id)
        if error:
            raise ConflictError(error)
        if answer is not None or state not in OPEN:
            return answer or {}
        # Who has waited for long is looked after less often: that costs them a twentieth at most.
        time.sleep(min(max(waited / 20, ANSWER_SECONDS), LOOK_SECONDS))
    return {}


def _point(given: Any) -> list[float]:
    if not _numbers(given, 3) or given[2] not in (0, 1):
        shown = one_line(repr(given), 60)
        raise InputError(f"The point {shown} cannot be: give [x, y, 1 on the object or 0 beside].")
    return [float(given[0]), float(given[1]), int(given[2])]


def _numbers(given: Any, count: int) -> bool:
    return (
        isinstance(given, list)
        and len(given) == count
        and all(type(each) in (int, float) and -(10**6) < each < 10**6 for each in given)
    )


def _take_back(job_id: str, way: Literal["undo", "redo"]) -> Response:
    context = here()
    Fields(json_object(request)).end()
    return jsonify(context.call(context.jobs.sessions.take_back, job_id, way))


def _mask(item: Fields) -> dict[str, Any]:
    """One mask of an edit: `mask` null takes the object off the frame."""
    mask: dict[str, Any] = {"object": item.number("object"), "under": item.flag("under", False)}
    if item.has("mask"):
        if item.anything("mask") is not None:
            raise InputError("mask is null, or left out and box and runs are given.")
    else:
        mask |= {"box": item.anything("box"), "runs": item.anything("runs")}
    item.end()
    return mask


_OBJECTS: Mapping[str, Callable[[Fields], tuple[Any, ...]]] = {
    "add": lambda body: (body.text("name", ""), body.text("label")),
    "rename": lambda body: (body.number("object"), body.text("name")),
    "relabel": lambda body: (body.number("object"), body.text("label")),
    "merge": lambda body: (body.numbers("objects"), body.number("into")),
    "split": lambda body: (body.number("object"), body.number("frame")),
    "end": lambda body: (body.number("object"), body.number("frame")),
    "start": lambda body: (body.number("object"), body.number("frame")),
}
