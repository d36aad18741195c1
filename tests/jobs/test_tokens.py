"""Promise: a token is shown once, kept as a digest, found by it, and ends when it is revoked."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import select, update

from errors import ConflictError, InputError, NotFoundError
from jobs.db import Database
from jobs.models import Token
from jobs.service import Jobs
from jobs.tokens import Holder, Tokens
from jobs.views import Role


@pytest.fixture
def tokens(database: Database) -> Tokens:
    return Tokens(database)


def test_a_token_is_its_holders_and_nobody_elses(tokens: Tokens) -> None:
    anna, bert = tokens.add("anna", Role.ANNOTATOR), tokens.add("bert", Role.VIEWER)
    assert len(anna) >= 43
    assert anna != bert
    found = tokens.holder(anna)
    assert found is not None
    assert (found.name, found.role) == ("anna", Role.ANNOTATOR)
    assert tokens.named("anna", found.mark) == found
    for wrong in ("", "relay_", anna[:-1], anna + "x", anna.removeprefix("relay_"), "relay_\udcff"):
        assert tokens.holder(wrong) is None
    assert tokens.named("bert", found.mark) is None
    assert tokens.named("nobody", found.mark) is None


def test_the_database_holds_the_digest_and_not_the_token(
    tokens: Tokens, database: Database
) -> None:
    token = tokens.add("anna", Role.ADMIN)
    with database.read() as session:
        row = session.scalars(select(Token)).one()
    assert row.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in repr(vars(row))


def test_a_revoked_token_ends_at_once_and_its_name_can_be_used_again(tokens: Tokens) -> None:
    assert not tokens.any_made()
    first = tokens.add("anna", Role.ADMIN)
    old = tokens.holder(first)
    assert old is not None
    assert tokens.any_made()
    assert tokens.is_active(old)

    tokens.revoke("anna")
    assert tokens.any_made(), "revoking the last one opens no door"
    assert tokens.holder(first) is None
    assert tokens.named("anna", old.mark) is None
    assert not tokens.is_active(old)

    second = tokens.add("anna", Role.VIEWER)
    new = tokens.holder(second)
    assert new is not None
    assert new.role is Role.VIEWER
    assert tokens.holder(first) is None
    assert tokens.named("anna", old.mark) is None  # what the old token opened stays closed
    assert not tokens.is_active(old)


def test_what_cannot_be_done_is_said(tokens: Tokens) -> None:
    tokens.add("anna", Role.ADMIN)
    with pytest.raises(ConflictError, match="already a token anna"):
        tokens.add("anna", Role.ADMIN)
    with pytest.raises(NotFoundError, match="no token bert"):
        tokens.revoke("bert")
    tokens.revoke("anna")
    with pytest.raises(ConflictError, match="revoked before"):
        tokens.revoke("anna")


@pytest.mark.parametrize("name", ["", "key", "local", "system", "cli:root", "-a", "a b", "a" * 65])
def test_a_name_that_would_mislead_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a token's name"):
        tokens.add(name, Role.VIEWER)


def test_its_last_use_is_written_at_most_once_a_minute(tokens: Tokens, database: Database) -> None:
    token = tokens.add("anna", Role.VIEWER)

    def last_used() -> float | None:
        return tokens.all()[0].last_used

    def set_back(seconds: float) -> None:
        with database.write() as session:
            session.execute(update(Token).values(last_used=Token.last_used - seconds))

    assert last_used() is None
    tokens.holder(token)
    first = last_used()
    assert first is not None
    set_back(30)
    for fresh in (tokens, Tokens(database)):  # this server, and another one
        fresh.holder(token)
        assert last_used() == first - 30
    set_back(31)
    tokens.holder(token)  # this one wrote within the last minute
    assert last_used() == first - 61
    Tokens(database).holder(token)
    assert last_used() >= first


def test_a_use_that_cannot_be_written_keeps_nobody_out(tokens: Tokens, database: Database) -> None:
    token = tokens.add("anna", Role.VIEWER)
    with database.engine.begin() as connection:  # such as a disk that is full
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE UPDATE ON tokens BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
    holder = tokens.holder(token)
    assert holder is not None
    assert holder.name == "anna"


def test_what_tokens_are_there_is_told_without_secrets(tokens: Tokens) -> None:
    texts = [tokens.add("bert", Role.ADMIN), tokens.add("anna", Role.VIEWER)]
    tokens.revoke("bert")
    shown = tokens.all()
    assert [(view.name, view.role, view.revoked is None) for view in shown] == [
        ("anna", Role.VIEWER, True),
        ("bert", Role.ADMIN, False),
    ]
    assert not any(text in repr(shown) for text in texts)


def test_all_of_it_works_on_postgresql(postgres_url: str, settings) -> None:
    from dataclasses import replace

    jobs = Jobs(replace(settings, database_url=postgres_url))
    try:
        token = jobs.tokens.add("anna", Role.ADMIN)
        assert isinstance(jobs.tokens.holder(token), Holder)
        assert jobs.tokens.all()[0].last_used is not None
        jobs.tokens.revoke("anna")
        assert jobs.tokens.holder(token) is None
        assert [(a.actor, a.action) for a in jobs.audit(10)] == [
            ("system", "token add"),
            ("system", "token revoke"),
        ]
    finally:
        jobs.close()


def test_each_role_may_do_what_those_before_it_may() -> None:
    assert [[role.allows(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
