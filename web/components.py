"""Components of sequences: an object's masks, saved as PNG files on the server."""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Response, jsonify, request, send_file

from jobs.sequences import folder_of
from web.context import here
from web.fields import Fields
from web.options import json_object

blueprint = Blueprint("components", __name__, url_prefix="/api/jobs/<job_id>")


@blueprint.get("/components")
def components(job_id: str) -> Response:
    """Return what is saved of a sequence."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.components.listed, job_id)))


@blueprint.get("/components.zip")
def download(job_id: str) -> Response:
    """Send all that is saved of a sequence in one archive."""
    context = here()
    file = context.call(context.jobs.components.archive, job_id)
    name = f"{folder_of(job_id)}_components.zip"
    response = send_file(file, mimetype="application/zip", as_attachment=True, download_name=name)
    response.content_length = file.seek(0, 2)
    file.seek(0)
    return response


@blueprint.post("/components")
def save_component(job_id: str) -> Response:
    """Save an object's masks as PNG files."""
    context = here()
    fields = Fields(json_object(request))
    component, number = fields.text("component"), fields.number("object")
    first, last = fields.number_or_none("from"), fields.number_or_none("to")
    layer = fields.text("layer", "")
    fields.end()
    saved = context.call(
        context.jobs.components.save, job_id, component, number, first, last, layer
    )
    return jsonify(dataclasses.asdict(saved))


@blueprint.delete("/components/<component>")
def reset_component(job_id: str, component: str) -> Response:
    """Remove a component's files."""
    context = here()
    left = context.call(context.jobs.components.reset, job_id, component)
    return jsonify(dataclasses.asdict(left))
