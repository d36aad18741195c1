"""Frames of a job as pictures: /api/jobs/<id>/frames and its thumbnail."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from errors import NotFoundError, one_line
from jobs.pictures import LEAST_WIDTH, MOST_WIDTH, THUMBNAIL_WIDTH, Picture
from web.context import here
from web.options import whole

blueprint = Blueprint("pictures", __name__, url_prefix="/api/jobs/<job_id>")
_FOR_EVER = "private, max-age=31536000, immutable"


@blueprint.get("/frames")
def frames(job_id: str) -> Response:
    """Return which frames a job has."""
    context = here()
    return jsonify(context.call(context.jobs.pictures.frames, job_id))


@blueprint.get("/frames/<frame>.jpg")
def frame(job_id: str, frame: str) -> Response:
    """Send one frame: as it is, or scaled down to `width`; with the masks of `layer` drawn in."""
    context = here()
    if not (frame.isascii() and frame.isdecimal() and len(frame) < 10):
        raise NotFoundError(f'There is no frame "{one_line(frame, 40)}": give its number.')
    width = whole(request, "width", 0, LEAST_WIDTH, MOST_WIDTH) or None
    layer = request.args.get("layer", "")
    picture = context.call(context.jobs.pictures.frame, job_id, int(frame), width, layer)
    return _sent(picture, kept=not layer)


@blueprint.get("/picture.jpg")
def thumbnail(job_id: str) -> Response:
    """Send the first key frame with its masks, scaled down to `width`."""
    context = here()
    width = whole(request, "width", THUMBNAIL_WIDTH, LEAST_WIDTH, MOST_WIDTH)
    return _sent(context.call(context.jobs.pictures.thumbnail, job_id, width), kept=False)


def _sent(picture: Picture, *, kept: bool) -> Response:
    """Answer with a picture, or that the browser's own is still good.

    `kept`: whether it may be kept for ever by who names the version of its images.
    """
    response = Response(mimetype=picture.mimetype)
    response.set_etag(picture.version)
    named = request.args.get("v", "")
    for_ever = kept and named != "" and named == picture.of_images
    response.headers["Cache-Control"] = _FOR_EVER if for_ever else "private, no-cache"
    if not request.if_none_match.contains_weak(picture.version):
        response.set_data(here().call(picture.read))
    response.make_conditional(request)  # changes it in place
    return response
