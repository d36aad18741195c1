"""Who may talk to the server, and from where.

There is a key where AGENT_KEY is set, where DATA_DIR holds agent.key, and where a named token is
active. Then programs send `Authorization: Bearer KEY` and people sign in once, each with the rights
of their role. Without a key only this machine may: the server listens on loopback, and a request
whose Host is not loopback is refused, since a foreign page can make its own name point to 127.0.0.1
(DNS rebinding). In both cases a request that changes something and comes from a page of another
origin is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized, UnsupportedMediaType
from werkzeug.wrappers import Response as BaseResponse

from config import Settings, is_loopback
from jobs import audit, keyfile
from jobs.db import open_database
from jobs.tokens import Holder, Tokens
from jobs.views import Role
from web.errors import answer
from web.green import Offload
from web.roles import SAFE_METHODS, may, require_role
from web.text import is_plain
from web.wrong_keys import WrongKeys

log = logging.getLogger(__name__)
SIGN_IN_BYTES = 4096  # a key and a path; a stranger may send no more than this
SESSION_DAYS = 30
_OPEN = frozenset({"static", "pages.sign_in", "pages.sign_in_form", "health.healthz"})
_PROBES = frozenset({"health.healthz", "health.readyz"})
_GATE = "mask-relay-gate"  # where the application keeps it, in `Flask.extensions`
_LOCAL = Holder(audit.LOCAL, Role.ADMIN, "")
_KEY = Holder(audit.KEY, Role.ADMIN, "")


def is_exposed(settings: Settings) -> bool:
    """Whether other machines can reach a server with these settings."""
    return not is_loopback(settings.host) or settings.trusted_proxies > 0


def with_key(settings: Settings) -> Settings:
    """Take the key from DATA_DIR/agent.key where AGENT_KEY is not set.

    Raises SettingsError for a file that cannot be used.
    """
    if settings.agent_key:
        return settings
    return replace(settings, agent_key=keyfile.read(settings.data_dir / keyfile.AGENT_KEY))


def require_safe_binding(settings: Settings) -> Settings:
    """Return the settings with a key, made here and shown once, where others could come in.

    Raises SettingsError for a key's file that cannot be used or made.
    """
    settings = with_key(settings)
    if settings.agent_key or not is_exposed(settings):
        return settings
    with closing(open_database(settings)) as database:
        if Tokens(database).any_made():
            return settings
    path = settings.data_dir / keyfile.AGENT_KEY
    key, made = keyfile.ensure(path)
    if made and sys.stderr is not None:
        # Not logged: a log is kept, and read by more people than may know the key.
        sys.stderr.write(f"The key of this server, shown only now and kept in {path}: {key}\n")
        sys.stderr.flush()
    return replace(settings, agent_key=key)


def session_secret(settings: Settings) -> bytes:
    """Return what signs session cookies, the same for all servers of an installation.

    A new AGENT_KEY signs everybody out. The file's random bits are in it too, so that nobody who
    has a cookie can try guesses of the key on it. Raises SettingsError.
    """
    secret, _ = keyfile.ensure(settings.data_dir / keyfile.SESSION_KEY)
    return hmac.digest(secret.encode(), settings.agent_key.encode(), hashlib.sha256)


class Gate:
    """Knows who asks."""

    def __init__(self, settings: Settings, tokens: Tokens, offload: Offload) -> None:
        self.settings = settings
        self.tokens = tokens
        self.offload = offload
        self.wrong_keys = WrongKeys()
        self._has_tokens: bool | None = None  # when the database was last asked

    def needs_key(self) -> bool:
        """Whether one has to have a key to come in."""
        if self.settings.agent_key or is_exposed(self.settings):
            return True
        try:
            self._has_tokens = self.offload.call(self.tokens.any_made)
        except (OperationalError, InterfaceError):
            if self._has_tokens is None:
                raise
        return self._has_tokens

    def by_key(self, given: str, address: str) -> Holder | None:
        """Whose key it is. Raises TooManyRequests for an address that guessed too often."""
        self.wrong_keys.require_patience(address)
        if self._is_agent_key(given):
            return _KEY
        holder = self.offload.call(self.tokens.holder, given)
        if holder is None:
            self.wrong_keys.add(address)
            log.warning("A wrong key came from %s.", address)
        return holder

    def by_request(self, incoming: Request) -> Holder | None:
        """Who sent it: by its bearer key, else by its session; LOCAL where there is no key.

        Raises TooManyRequests as `by_key` does.
        """
        if not self.needs_key():
            return _LOCAL
        scheme, _, given = incoming.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.by_key(given.strip(), incoming.remote_addr or "")
        return self._by_session()

    def may_stay(self, who: Holder) -> bool:
        """Whether what opened a connection still would."""
        if who == _LOCAL:
            return not self.needs_key()
        if who == _KEY:
            return bool(self.settings.agent_key)
        return self.offload.call(self.tokens.is_active, who)

    def _is_agent_key(self, given: str) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        ours = self.settings.agent_key
        same = hmac.compare_digest(ours.encode(), given.encode(errors="replace"))
        return bool(ours) and same

    def _by_session(self) -> Holder | None:
        name, mark = session.get("name"), session.get("mark")
        if not isinstance(name, str) or not isinstance(mark, str):
            return None
        if name == audit.KEY:
            return _KEY if self.settings.agent_key else None
        return self.offload.call(self.tokens.named, name, mark)


def gate() -> Gate:
    """Return the gate of the application that serves this request."""
    return cast(Gate, current_app.extensions[_GATE])


def open_session(who: Holder) -> None:
    """Let the browser that sent this request come in as `who`, until it signs out."""
    session.clear()
    session["name"], session["mark"] = who.name, who.mark
    session.permanent = True


def require_host(incoming: Request) -> None:
    """Raise Forbidden for a Host that is not this machine, where no key protects the server."""
    host = _host_name(incoming.host)
    if gate().needs_key():
        return
    if "X-Forwarded-For" in incoming.headers or "Forwarded" in incoming.headers:
        raise Forbidden(
            "A proxy stands before this server, which has no key: set TRUSTED_PROXIES, and it "
            "makes one at its next start."
        )
    if not is_loopback(host):
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
    if foreign_site or (origin is not None and not _is_own(origin, incoming)):
        raise Forbidden("A page of another address may not change anything on this server.")


def require_page(incoming: Request) -> None:
    """Raise Forbidden for a change by session that no page of ours can have asked for.

    Browsers say where a change comes from (Origin, on every POST and DELETE, forms included); what
    has neither that nor a header that no foreign page can send is no browser's page.
    """
    told = ("Origin", "Sec-Fetch-Site", "X-Requested-With")
    if not any(name in incoming.headers for name in told):
        raise Forbidden(
            "A session changes things from our own pages only: send 'Authorization: Bearer KEY', "
            "or the header X-Requested-With."
        )


def limit_sign_in(incoming: Request) -> None:
    """Take no more of a body than signing in needs; the files of a form would go to the disk.

    Raises UnsupportedMediaType for a form that may hold files.
    """
    incoming.max_content_length = SIGN_IN_BYTES
    if incoming.mimetype.startswith("multipart/"):
        raise UnsupportedMediaType("Sign in with a plain form that holds the key and no file.")


def install(app: Flask, settings: Settings, tokens: Tokens, offload: Offload) -> None:
    """Guard every request of `app`, and send the headers that keep pages to themselves."""
    app.extensions[_GATE] = Gate(settings, tokens, offload)
    app.session_interface = _Sessions()
    app.add_template_global(may)
    app.config.update(
        SESSION_COOKIE_NAME="mask_relay_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,  # the days count from signing in
        PERMANENT_SESSION_LIFETIME=timedelta(days=SESSION_DAYS),
        SECRET_KEY=session_secret(settings),
    )

    @app.before_request
    def guard() -> BaseResponse | None:
        changes = request.method not in SAFE_METHODS
        if request.endpoint not in _PROBES:
            require_host(request)
        if changes:
            require_same_origin(request)
        if request.endpoint == "pages.sign_in":
            limit_sign_in(request)
        if request.endpoint in _OPEN | _PROBES:
            return None
        who = gate().by_request(request)
        if who is None:
            if request.path.startswith("/api/") or request.path == "/metrics" or changes:
                raise Unauthorized("Sign in first, or send the header 'Authorization: Bearer KEY'.")
            return redirect(url_for("pages.sign_in_form", next=request.full_path.rstrip("?")))
        if changes and who != _LOCAL and "Authorization" not in request.headers:
            require_page(request)
        require_role(request, who)
        g.who, g.acting = who, ExitStack()
        g.acting.enter_context(audit.acting(who.name))
        return None

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        g.pop("acting", ExitStack()).close()

    @app.errorhandler(TooManyRequests)
    def wait(error: TooManyRequests) -> Response:
        response = answer(429, error.description or "")
        response.headers["Retry-After"] = str(error.retry_after)
        return response

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


class _Sessions(SecureCookieSessionInterface):
    """Cookies that a browser sends back over TLS only, where they were set over TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


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


def _is_own(origin: str, incoming: Request) -> bool:
    """Whether a page of `origin` is ours; one that came without TLS is not that of a TLS server."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # such as "http://["
        return False
    is_downgrade = incoming.is_secure and parts.scheme != "https"
    return parts.netloc == incoming.host and not is_downgrade


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
