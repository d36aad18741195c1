"""What masks a job has, by layer and frame: /api/jobs/<id>/layers and below."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from errors import InputError
from jobs.layers import Answer
from web.context import here
from web.options import whole

blueprint = Blueprint("layers", __name__, url_prefix="/api/jobs/<job_id>")
_MOST_NUMBER = 2**31 - 1


@blueprint.get("/layers")
def layers(job_id: str) -> Response:
    """Return all layers of a job, and which one to show first."""
    context = here()
    return jsonify(context.call(context.jobs.layers.listed, job_id))


@blueprint.get("/layers/<layer>/masks")
def masks(job_id: str, layer: str) -> Response:
    """Return the masks of the frames `from` to `to`."""
    context = here()
    first, last = _needed("from"), _needed("to")
    return _packed(context.call(context.jobs.layers.masks, job_id, layer, first, last))


@blueprint.get("/layers/<layer>/timeline")
def timeline(job_id: str, layer: str) -> Response:
    """Return a layer at a glance."""
    context = here()
    return _packed(context.call(context.jobs.layers.timeline, job_id, layer))


@blueprint.get("/differences")
def differences(job_id: str) -> Response:
    """Return how layer `b` differs from layer `a`."""
    context = here()
    names = [request.args.get(name, "") for name in ("a", "b")]
    if not all(names):
        raise InputError("Say which two layers: add a=run-1&b=run-2 to the address.")
    return _packed(context.call(context.jobs.layers.differences, job_id, *names))


def _packed(answer: Answer) -> Response:
    """Send the text as it is packed already, where the client takes that.

    A browser that has it asks each time whether it is still that (the version may change).
    """
    response = Response(mimetype="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    if request.accept_encodings["deflate"]:
        response.headers["Content-Encoding"] = "deflate"
        response.set_data(answer.body.zlib)
        response.set_etag(f"{answer.version}-deflate")
    else:
        response.set_data(answer.body.text)
        response.set_etag(answer.version)
    response.make_conditional(request)  # changes it in place
    return response


def _needed(name: str) -> int:
    """A frame's number in the query; raises InputError where it is not there."""
    if not request.args.get(name):
        raise InputError(f"Say which frames: add from=0&to=49 to the address ({name} is missing).")
    return whole(request, name, 0, 0, _MOST_NUMBER)
