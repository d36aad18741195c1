"""Which role a request needs: a viewer may read; a change that is not listed needs an admin."""

from __future__ import annotations

from flask import Request, g
from werkzeug.exceptions import Forbidden

from jobs.tokens import Holder
from jobs.views import Role

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

NEEDED = {
    "api.plan": Role.VIEWER,  # changes nothing
    "pages.plan": Role.VIEWER,
    "pages.sign_out": Role.VIEWER,
    "api.upload": Role.ANNOTATOR,
    "api.start_run": Role.ANNOTATOR,
    "api.cancel": Role.ANNOTATOR,
    "api.retry": Role.ANNOTATOR,
    "api.pause": Role.ANNOTATOR,
    "api.resume": Role.ANNOTATOR,
    "components.save_component": Role.ANNOTATOR,
    "components.reset_component": Role.ANNOTATOR,
    "studio.open_sequence": Role.ANNOTATOR,
    "studio.keep_drawn": Role.ANNOTATOR,
    "studio.upload": Role.ANNOTATOR,
    "studio.forget": Role.ANNOTATOR,
    **{
        f"sessions.{name}": Role.ANNOTATOR
        for name in (
            *("edit", "copy", "on_range", "key", "objects", "undo", "redo", "engine"),
            *("accept", "reset", "step", "stop", "prepare", "segment"),
        )
    },
    "uploads.create": Role.ANNOTATOR,
    "uploads.append": Role.ANNOTATOR,
    "uploads.remove": Role.ANNOTATOR,
}
"""By endpoint, for methods that change something."""


def needed(incoming: Request) -> Role:
    """Return the least role that may do this; where nothing answers, nothing is done."""
    if incoming.method in SAFE_METHODS or incoming.endpoint is None:
        return Role.VIEWER
    return NEEDED.get(incoming.endpoint, Role.ADMIN)


def may(endpoint: str) -> bool:
    """Whether who asks for this page may do what answers at `endpoint`; for templates."""
    who: Holder | None = g.get("who")
    return who is not None and who.role.allows(NEEDED.get(endpoint, Role.ADMIN))


def require_role(incoming: Request, who: Holder) -> None:
    """Raise Forbidden, naming the role, where that of `who` is not enough."""
    least = needed(incoming)
    if not who.role.allows(least):
        raise Forbidden(
            f"This needs the role {least}, and {who.name} has the role {who.role}: ask whoever "
            "runs this server for a token with that role."
        )
