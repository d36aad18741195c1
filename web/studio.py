"""The studio: sequences that become jobs without CVAT, and the page to pick one.

The frame-by-frame panel of such a job does the rest (see `web.openapi_studio` for the whole API).
"""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Response, jsonify, render_template, request, send_file, url_for

from errors import InputError, NotFoundError
from jobs.receive import TooLargeError
from jobs.sequences import SequenceView
from jobs.uploads import NoRoomError
from web.context import here
from web.errors import answer
from web.pages import head
from web.text import is_plain, plain_argument

blueprint = Blueprint("studio", __name__)


@blueprint.errorhandler(NoRoomError)
@blueprint.errorhandler(TooLargeError)
def refused(error: InputError) -> Response:
    """Answer with the status that programs know these by."""
    return answer(507 if isinstance(error, NoRoomError) else 413, str(error))


@blueprint.get("/studio")
def page() -> str:
    """Show all sequences; readable without JavaScript."""
    context = here()
    search = plain_argument(request, "search")
    trouble, sequences = "", tuple[SequenceView, ...]()
    try:
        sequences = context.call(context.jobs.sequences.list_sequences, search)
    except InputError as error:
        trouble = str(error)
    return render_template(
        "studio.html",
        sequences=sequences,
        folder=context.settings.sequences_path,
        sentence=trouble,
        search=search,
        **head(),
    )


@blueprint.get("/api/sequences")
def list_sequences() -> Response:
    """Return all sequences and the folder that they are looked for in."""
    context = here()
    found = context.call(context.jobs.sequences.list_sequences, plain_argument(request, "search"))
    return jsonify(
        sequences=[dataclasses.asdict(each) for each in found],
        path=str(context.settings.sequences_path),
    )


@blueprint.post("/api/sequences")
def upload() -> Response:
    """Take a video or a zip of images as the raw body, and begin to read it."""
    context = here()
    name, length = request.args.get("name", ""), request.content_length
    if not name or not is_plain(name):
        raise InputError("Give the file's name: POST /api/sequences?name=clip.mp4")
    view = context.offload.consume(
        request.stream, lambda stream: context.jobs.sequences.receive(name, stream, length)
    )
    return _told(view)


@blueprint.get("/api/sequences/<name>")
def sequence(name: str) -> Response:
    """Return one sequence and how far its reading is."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.sequences.view, name)))


@blueprint.delete("/api/sequences/<name>")
def forget(name: str) -> Response:
    """Give up an upload that could not be read."""
    context = here()
    context.call(context.jobs.sequences.forget, name)
    return Response(status=204)


@blueprint.post("/api/sequences/<name>/open")
def open_sequence(name: str) -> Response:
    """Make a sequence a job; 202 while it is being read."""
    context = here()
    return _told(context.call(context.jobs.sequences.open, name))


@blueprint.get("/api/sequences/<name>/picture.jpg")
def picture(name: str) -> Response:
    """Send a small picture of a sequence's first frame.

    One that cannot be read has none: it is shown before anybody asked for it, so that this is no
    error.
    """
    context = here()
    try:
        path = context.call(context.jobs.sequences.picture, name)
    except NotFoundError:
        raise
    except InputError:
        return Response(status=204)
    return send_file(path, mimetype="image/jpeg", conditional=True, etag=path.name)


@blueprint.post("/api/jobs/<job_id>/drawn")
def keep_drawn(job_id: str) -> Response:
    """Make what was accepted of a sequence a revision, from which runs can start."""
    context = here()
    context.call(context.jobs.sequences.drawn.keep, job_id)
    return jsonify(dataclasses.asdict(context.call(context.jobs.job, job_id).job))


def _told(view: SequenceView) -> Response:
    response = jsonify(dataclasses.asdict(view))
    response.status_code = 202 if view.state == "making" else 200
    response.headers["Location"] = url_for("studio.sequence", name=view.name)
    return response
