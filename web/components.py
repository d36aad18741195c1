"""Components of sequences: an object's masks, saved as PNG files on the server."""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Response, jsonify, request

from web.context import here
from web.fields import Fields
from web.options import json_object

blueprint = Blueprint("components", __name__, url_prefix="/api/jobs/<job_id>/components")


@blueprint.get("")
def components(job_id: str) -> Response:
    """Return what is saved of a sequence."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.components.listed, job_id)))


@blueprint.post("")
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


@blueprint.delete("/<component>")
def reset_component(job_id: str, component: str) -> Response:
    """Remove a component's files."""
    context = here()
    left = context.call(context.jobs.components.reset, job_id, component)
    return jsonify(dataclasses.asdict(left))
