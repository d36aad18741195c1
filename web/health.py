"""What a supervisor asks: whether the process is alive, and whether it can take work."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from web.context import here

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 as long as requests are served at all."""
    return jsonify(alive=True)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200 when work can be taken, whether or not a worker is there; else 503 and why."""
    context = here()
    health = context.call(context.jobs.health)
    wrong = [
        f"{part}: {state}"
        for part, state in (("database", health.database), ("disk", health.disk))
        if state != "ok"
    ]
    response = jsonify(ready=health.ready, reason="; ".join(wrong))
    response.status_code = 200 if health.ready else 503
    return response
