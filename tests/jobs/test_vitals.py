"""Promise: a part that hangs is named within seconds, and asking again and again costs nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from config import Settings
from jobs.service import Jobs
from jobs.vitals import Question
from tests.helpers.postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def jobs(settings: Settings, postgres: OwnPostgres) -> Iterator[Jobs]:
    opened = Jobs(replace(settings, database_url=postgres.url))
    yield opened
    opened.close()


def test_a_frozen_database_is_down_and_works_again_when_it_goes_on(
    jobs: Jobs, postgres: OwnPostgres
) -> None:
    assert jobs.health().ready
    assert jobs.figures() is not None
    before = threading.active_count()
    postgres.freeze()
    try:
        for _ in range(20):
            health = jobs.health()
            assert not health.ready
            assert "has not answered" in health.database
            assert jobs.figures() is None
        assert threading.active_count() <= before + 2, "one thread for each kind of question"
    finally:
        postgres.thaw()
    pause = threading.Event()
    for _ in range(600):
        if jobs.health().ready and jobs.figures() is not None:
            break
        pause.wait(0.05)  # what was asked while it was frozen is answered first
    assert jobs.health().database == "ok"
    assert jobs.figures() is not None
    assert postgres.connection_count() <= 3


def test_a_database_that_went_away_is_down_and_back_when_it_is_back(
    jobs: Jobs, postgres: OwnPostgres
) -> None:
    assert jobs.health().ready
    postgres.stop()
    try:
        health = jobs.health()
        assert (health.ready, health.disk) == (False, "ok")
        assert "does not answer" in health.database
        assert jobs.figures() is None
    finally:
        postgres.start()
    assert jobs.health().ready


def test_connections_to_a_machine_that_vanished_are_given_up(
    jobs: Jobs, postgres: OwnPostgres
) -> None:
    with jobs.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert 0 < int(driver.info.get_parameters()["tcp_user_timeout"]) <= 30_000


def test_what_a_question_raises_is_raised_and_the_next_one_is_asked_anew() -> None:
    answers = iter([OSError("gone"), "here"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    question = Question(ask, 30.0)
    with pytest.raises(OSError, match="gone"):
        question.begin()()
    assert question.begin()() == "here"
