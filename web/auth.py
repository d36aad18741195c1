"""Who may talk to the server, and from where.

Without AGENT_KEY only this machine may: the server listens on loopback, and a request whose Host
is not loopback is refused, since a foreign page can make its own name point to 127.0.0.1 (DNS
rebinding). With AGENT_KEY programs send `Authorization: Bearer KEY` and people sign in once. In
both cases a request that changes something and comes from a page of another origin is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from flask import Flask, Request, Response, redirect, request, session, url_for
from werkzeug.exceptions import Forbidden, Unauthorized, UnsupportedMediaType
from werkzeug.wrappers import Response as BaseResponse

from config import Settings, is_loopback
from errors import SettingsError
from web.text import is_plain

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"static", "pages.sign_in", "pages.sign_in_form", "health.healthz"})
SIGN_IN_BYTES = 4096  # a key and a path; a stranger may send no more than this
_PROBES = frozenset({"health.healthz", "health.readyz"})


def require_safe_binding(settings: Settings) -> None:
    """Raise SettingsError where the server would be reachable from elsewhere without a key."""
    if not settings.agent_key and not is_loopback(settings.host):
        raise SettingsError(
            f"HOST={settings.host} would open the server to other machines: set AGENT_KEY to a "
            "secret of at least 16 characters, or use HOST=127.0.0.1."
        )


def session_secret(settings: Settings) -> bytes:
    """Return the key that signs session cookies: a new AGENT_KEY signs everybody out."""
    if not settings.agent_key:
        return secrets.token_bytes(32)
    return hmac.digest(settings.agent_key.encode(), b"mask-relay session", hashlib.sha256)


def is_key(settings: Settings, given: str) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return hmac.compare_digest(settings.agent_key.encode(), given.encode(errors="replace"))


def is_signed_in(settings: Settings, incoming: Request) -> bool:
    """Whether this request carries the key, or a session that was opened with it."""
    if not settings.agent_key or session.get("signed_in") is True:
        return True
    scheme, _, given = incoming.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and is_key(settings, given.strip())


def require_host(settings: Settings, incoming: Request) -> None:
    """Raise Forbidden for a Host that is not this machine, where no key protects the server."""
    host = _host_name(incoming.host)
    if not settings.agent_key and not is_loopback(host):
        raise Forbidden(
            f"This server answers to localhost and not to the name {host!r}: "
            "open it as localhost, or set AGENT_KEY to use it under another name."
        )


def require_same_origin(incoming: Request) -> None:
    """Raise Forbidden where a page of another origin asks for a change.

    Programs send neither header and pass; browsers send at least one of them.
    """
    site = incoming.headers.get("Sec-Fetch-Site")
    origin = incoming.headers.get("Origin")
    foreign_site = site is not None and site not in {"same-origin", "none"}
    foreign_origin = origin is not None and _place(origin) != incoming.host
    if foreign_site or foreign_origin:
        raise Forbidden("A page of another address may not change anything on this server.")


def limit_sign_in(incoming: Request) -> None:
    """Take no more of a body than signing in needs; the files of a form would go to the disk.

    Raises UnsupportedMediaType for a form that may hold files.
    """
    incoming.max_content_length = SIGN_IN_BYTES
    if incoming.mimetype.startswith("multipart/"):
        raise UnsupportedMediaType("Sign in with a plain form that holds the key and no file.")


def install(app: Flask, settings: Settings) -> None:
    """Guard every request of `app`, and send the headers that keep pages to themselves."""
    app.config.update(
        SESSION_COOKIE_NAME="mask_relay_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SECRET_KEY=session_secret(settings),
    )

    @app.before_request
    def guard() -> BaseResponse | None:
        if request.endpoint not in _PROBES:
            require_host(settings, request)
        if request.method not in _SAFE_METHODS:
            require_same_origin(request)
        if request.endpoint == "pages.sign_in":
            limit_sign_in(request)
        if request.endpoint in _OPEN | _PROBES or is_signed_in(settings, request):
            return None
        if request.path.startswith("/api/") or request.method not in _SAFE_METHODS:
            raise Unauthorized("Sign in first, or send the header 'Authorization: Bearer KEY'.")
        return redirect(url_for("pages.sign_in_form", next=request.full_path.rstrip("?")))

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="Mask Relay"'
        return response


def own_path(target: str) -> str:
    """Return `target` when it is a path on this server, else the first page."""
    try:
        parts = urlsplit(target)
    except ValueError:  # such as "//["
        return "/"
    is_own = not parts.scheme and not parts.netloc and parts.path.startswith("/")
    # A browser reads "/\host" and "//host" as another server.
    is_read_alike = is_plain(target) and "\\" not in target and not target.startswith("//")
    return target if is_own and is_read_alike else "/"


def _host_name(host: str) -> str:
    """Take the port away: "localhost:5000" -> "localhost", "[::1]:5000" -> "::1"."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # such as "["
        return ""


def _place(origin: str) -> str:
    """Return host and port of an origin, "" where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as "http://["
        return ""


_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
