"""What a supervisor asks: whether the process is alive, and whether it can take work."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from jobs.views import Health
from web import auth
from web.context import here

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 as long as requests are served at all."""
    return jsonify(alive=True)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200 when work can be taken, whether or not a worker is there; else 503 and why.

    `status` is "degraded" where work is taken but only found by looking, and "down" with the 503.
    """
    context = here()
    health = context.call(context.jobs.health)
    # Strangers learn which part is wrong, and not what it is called inside.
    tells = not (context.settings.agent_key or auth.is_exposed(context.settings))
    wrong = [f"{part}: {state}" if tells else part for part, state in _wrong(health)]
    if not health.ready:
        status = "down"
    elif wrong and not _rests(health, context.settings.broker_url):
        status = "degraded"
    else:
        status, wrong = "ok", []
    response = jsonify(status=status, ready=health.ready, reason="; ".join(wrong))
    response.status_code = 200 if health.ready else 503
    return response


def _wrong(health: Health) -> list[tuple[str, str]]:
    parts = (("database", health.database), ("disk", health.disk), ("broker", health.broker))
    return [(part, state.removeprefix("degraded: ")) for part, state in parts if state != "ok"]


def _rests(health: Health, broker_url: str) -> bool:
    """Whether nobody misses the broker: the embedded one ends when unused, and starts with work."""
    return not broker_url and not health.workers
