"""Promise: a supervisor hears within seconds whether work can be taken, and why not, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from jobs.service import Jobs
from tests.helpers.postgres import OwnPostgres, own_postgres
from tests.web.kit import KEY_TEXT
from worker import presence

NO_BROKER = "amqp://guest:guest@127.0.0.1:1//"
MakeApp = Callable[[Settings], Flask]


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


def test_all_is_well_while_nobody_needs_the_embedded_broker(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"status": "ok", "ready": True, "reason": ""},
    )


def test_a_worker_without_its_embedded_broker_is_degraded(
    client: FlaskClient, settings: Settings
) -> None:
    jobs = Jobs(settings)
    with jobs.database.write() as session:
        presence.report(session, name="w", host="h", device="cpu", doing="")
    jobs.close()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")


def test_a_broker_that_is_away_only_degrades(settings: Settings, make_app: MakeApp) -> None:
    client = make_app(replace(settings, broker_url=NO_BROKER)).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    health = answer.get_json()
    assert (health["status"], health["ready"]) == ("degraded", True)
    assert health["reason"].startswith("broker: ")


def test_without_the_folder_it_is_down(client: FlaskClient, settings: Settings) -> None:
    settings.data_dir.rename(f"{settings.data_dir}-away")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    health = answer.get_json()
    assert (health["status"], health["ready"]) == ("down", False)
    assert health["reason"].startswith("disk: DATA_DIR")


@pytest.mark.postgres
def test_a_frozen_database_is_told_and_scraped_all_the_same(
    settings: Settings, make_app: MakeApp, postgres: OwnPostgres
) -> None:
    """Without a time limit of its own, this would hang until the database goes on."""
    settings = replace(settings, database_url=postgres.url, agent_key=KEY_TEXT)
    client = make_app(settings).test_client()
    key = {"Authorization": f"Bearer {KEY_TEXT}"}
    assert client.get("/readyz").get_json()["status"] == "ok"
    postgres.freeze()
    try:
        answer = client.get("/readyz")
        scraped = client.get("/metrics", headers=key)
    finally:
        postgres.thaw()
    assert (answer.status_code, answer.get_json()["status"]) == (503, "down")
    assert "database" in answer.get_json()["reason"]
    assert scraped.status_code == 200
    assert "relay_database_up 0.0" in scraped.text.splitlines()
