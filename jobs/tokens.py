"""Named tokens: a key of its own for each person or program, with a role, revoked by name.

A token is shown once, when it is made; only its digest is kept. Plain SHA-256 is enough, with
neither salt nor stretching: a token is not a password but 256 random bits, which nobody can guess
from its digest.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from errors import ConflictError, InputError, NotFoundError, one_line
from jobs import audit
from jobs.db import Database, db_now
from jobs.models import Token
from jobs.views import Role, TokenView

PREFIX = "relay_"  # so that people and secret scanners see what it is
USED_EVERY = 60.0  # seconds between two notes of a token's last use
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a key. `mark` tells two tokens apart that had the same name; it is no secret."""

    name: str
    role: Role
    mark: str


class Tokens:
    """The tokens of one database. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}  # digest -> when its use was last noted here

    def add(self, name: str, role: Role) -> str:
        """Make a token and return it; it cannot be read again.

        `name`: 1 to 64 letters, digits, ".", "_", "@" and "-"; that of a revoked token may be used
        again. Raises InputError for another name, ConflictError while a token has it.
        """
        if not _NAME.fullmatch(name) or name in audit.NOBODY:
            raise InputError(
                f'"{one_line(name, 80)}" cannot be a token\'s name: give 1 to 64 letters, digits '
                f'and ". _ @ -", other than {", ".join(sorted(audit.NOBODY))}.'
            )
        token = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as session:
            row = session.get(Token, name)
            if row is not None and row.revoked is None:
                raise ConflictError(
                    f"There is already a token {name}: revoke it first, or choose another name."
                )
            now = session.scalars(select(db_now())).one()
            if row is None:
                row = Token(name=name)
                session.add(row)
            row.role, row.digest, row.created = role.value, _digest(token), now
            row.last_used = row.revoked = None
            audit.record(session, "token add", detail=f"{name}, {role.value}")
        return token

    def revoke(self, name: str) -> None:
        """End a token at once. Raises NotFoundError, ConflictError where it has ended already."""
        with self._database.write() as session:
            row = session.get(Token, name)
            if row is None:
                raise NotFoundError(
                    f"There is no token {one_line(name, 80)}: see `relay token list`."
                )
            if row.revoked is not None:
                raise ConflictError(f"The token {name} was revoked before: nothing is left to do.")
            row.revoked = session.scalars(select(db_now())).one()
            audit.record(session, "token revoke", detail=name)

    def all(self) -> tuple[TokenView, ...]:
        """Every token there ever was, by name."""
        with self._database.read() as session:
            return tuple(
                TokenView(
                    name=row.name,
                    role=Role(row.role),
                    created=row.created,
                    last_used=row.last_used,
                    revoked=row.revoked,
                )
                for row in session.scalars(select(Token).order_by(Token.name))
            )

    def any_made(self) -> bool:
        """Whether there ever was a token: revoking the last one opens no door."""
        with self._database.read() as session:
            return session.scalars(select(Token.name).limit(1)).first() is not None

    def holder(self, token: str) -> Holder | None:
        """Whose token this is; None where it is nobody's or revoked. Notes its use."""
        if not token.startswith(PREFIX):
            return None
        digest = _digest(token)
        with self._database.read() as session:
            row = session.scalars(select(Token).where(Token.digest == digest)).one_or_none()
        if row is None or row.revoked is not None or not hmac.compare_digest(row.digest, digest):
            return None
        self._note_use(row)
        return _holder(row)

    def named(self, name: str, mark: str) -> Holder | None:
        """The holder of a session that was opened with a token; None once that is revoked."""
        with self._database.read() as session:
            row = session.get(Token, name)
        if row is None or row.revoked is not None or _mark(row) != mark:
            return None
        self._note_use(row)
        return _holder(row)

    def is_active(self, holder: Holder) -> bool:
        """Whether the token by which `holder` came in is not revoked; its use is not noted."""
        with self._database.read() as session:
            row = session.get(Token, holder.name)
        return row is not None and row.revoked is None and _mark(row) == holder.mark

    def _note_use(self, row: Token) -> None:
        """Write down that a token is used, at most once a minute.

        Nobody is kept out because that cannot be written, as on a full disk.
        """
        now = time.monotonic()
        if now - self._noted.get(row.digest, -USED_EVERY) < USED_EVERY:
            return
        self._noted[row.digest] = now
        unnoted = or_(Token.last_used.is_(None), Token.last_used < db_now() - USED_EVERY)
        try:
            with self._database.write() as session:
                session.execute(
                    update(Token)
                    .where(Token.digest == row.digest, unnoted)
                    .values(last_used=db_now())
                    .execution_options(synchronize_session=False)
                )
        except SQLAlchemyError as exc:
            _log.warning("The use of token %s could not be noted (%s).", row.name, exc)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _mark(row: Token) -> str:
    return row.digest[:16]


def _holder(row: Token) -> Holder:
    return Holder(row.name, Role(row.role), _mark(row))
