"""Promise: signing in is safe: over any proxy, for thirty days at most, and not by guessing."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner

from config import Settings
from jobs.views import Role
from tests.web.kit import KEY_TEXT
from tests.web.test_serving import MODES, NO_BROKER, listening, running
from web.context import KEY
from web.wrong_keys import MOST_ADDRESSES, WrongKeys

BEARER = {"Authorization": f"Bearer {KEY_TEXT}"}
COOKIE = "mask_relay_session"
OWN = {"Origin": "http://localhost"}

MakeApp = Callable[[Settings], Flask]


def from_(address: str) -> dict[str, dict[str, str]]:
    return {"environ_base": {"REMOTE_ADDR": address}}


# -- cookies -------------------------------------------------------------------------------------


def test_the_cookie_is_for_our_pages_alone_and_over_tls_where_there_is_tls(
    guarded: FlaskClient,
) -> None:
    for base, secure in (("http://localhost", False), ("https://localhost", True)):
        answer = guarded.post("/sign-in", base_url=base, data={"key": KEY_TEXT})
        cookie = answer.headers["Set-Cookie"]
        assert ("Secure" in cookie) is secure
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("hops", "forwarded", "secure", "host"),
    [
        (0, "https", False, "http://localhost"),
        (1, "https", True, "https://relay.example"),
        (1, "http", False, "http://relay.example"),
        (2, "https, http", True, "https://relay.example"),
        (1, "https, http", False, "http://relay.example"),
    ],
)
def test_behind_a_proxy_its_word_is_taken_where_it_is_trusted(
    settings: Settings, make_app: MakeApp, hops: int, forwarded: str, secure: bool, host: str
) -> None:
    client = make_app(replace(settings, agent_key=KEY_TEXT, trusted_proxies=hops)).test_client()
    times = forwarded.count(",") + 1
    headers = {
        "X-Forwarded-Proto": forwarded,
        "X-Forwarded-Host": ", ".join(["relay.example"] * times),
        "X-Forwarded-For": ", ".join(["192.0.2.7"] * times),
        "Origin": host,
    }
    answer = client.post("/sign-in", data={"key": KEY_TEXT}, headers=headers)
    assert answer.status_code == 303
    assert ("Secure" in answer.headers["Set-Cookie"]) is secure


def test_a_session_ends_after_thirty_days_however_much_it_is_used(
    guarded: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 24 * 3600
    now = TimestampSigner("x").get_timestamp()
    clock = [now]
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: clock[0])
    signed = guarded.post("/sign-in", data={"key": KEY_TEXT})
    cookie = guarded.get_cookie(COOKIE)
    assert cookie is not None
    assert "Expires=" in signed.headers["Set-Cookie"]
    for days, status in ((15, 200), (29, 200), (30, 200), (31, 401)):
        clock[0] = now + days * day
        guarded.set_cookie(COOKIE, cookie.value)  # a browser's clock may be behind
        answer = guarded.get("/api/jobs")
        assert answer.status_code == status
        assert "Set-Cookie" not in answer.headers


def test_a_cookie_names_its_token_and_holds_nothing_secret(
    settings: Settings, make_app: MakeApp
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    token = app.extensions[KEY].jobs.tokens.add("anna", Role.VIEWER)
    client = app.test_client()
    client.post("/sign-in", data={"key": token})
    with client.session_transaction() as session:
        assert session["name"] == "anna"
        content = repr(dict(session))
    assert KEY_TEXT not in content
    assert token.removeprefix("relay_") not in content


@pytest.mark.parametrize("key", [KEY_TEXT, ""])
def test_a_session_outlives_a_restart_and_holds_on_all_servers_of_an_installation(
    settings: Settings, make_app: MakeApp, key: str
) -> None:
    settings = replace(settings, agent_key=key)
    app = make_app(settings)
    token = app.extensions[KEY].jobs.tokens.add("anna", Role.VIEWER)
    first, second = app.test_client(), make_app(settings).test_client()
    first.post("/sign-in", data={"key": token})
    cookie = first.get_cookie(COOKIE)
    assert cookie is not None
    second.set_cookie(COOKIE, cookie.value)
    assert second.get("/api/jobs").status_code == 200
    another = make_app(replace(settings, agent_key="another secret of good length")).test_client()
    another.set_cookie(COOKIE, cookie.value)
    assert another.get("/api/jobs").status_code == 401  # a new key signs everybody out


def test_a_cookie_of_another_installation_is_worth_nothing(
    settings: Settings, make_app: MakeApp, tmp_path: Path
) -> None:
    here = make_app(replace(settings, agent_key=KEY_TEXT)).test_client()
    there = make_app(replace(settings, agent_key=KEY_TEXT, data_dir=tmp_path / "x")).test_client()
    there.post("/sign-in", data={"key": KEY_TEXT})
    cookie = there.get_cookie(COOKIE)
    assert cookie is not None
    here.set_cookie(COOKIE, cookie.value)
    assert here.get("/api/jobs").status_code == 401


def test_signing_in_is_an_action_and_failing_to_is_a_line_in_the_log(
    settings: Settings, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    client = app.test_client()
    with caplog.at_level(logging.WARNING, "web.auth"):
        client.post("/sign-in", data={"key": "a wrong key"}, **from_("192.0.2.7"))
    assert caplog.messages == ["A wrong key came from 192.0.2.7."]
    client.post("/sign-in", data={"key": KEY_TEXT})
    jobs = app.extensions[KEY].jobs
    assert [(line.actor, line.action) for line in jobs.audit(9)] == [("key", "sign in")]


# -- guessing ------------------------------------------------------------------------------------


def test_after_ten_wrong_keys_an_address_has_to_wait(guarded: FlaskClient) -> None:
    here, elsewhere = from_("192.0.2.7"), from_("192.0.2.8")
    for number in range(10):
        if number % 2:
            answer = guarded.get(
                "/api/jobs", headers={"Authorization": f"Bearer wrong {number}"}, **here
            )
        else:
            answer = guarded.post("/sign-in", data={"key": f"wrong {number}"}, **here)
        assert answer.status_code == 401
    for answer in (
        guarded.get("/api/jobs", headers=BEARER, **here),
        guarded.post("/sign-in", data={"key": KEY_TEXT}, **here),
    ):
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "Too many wrong keys came from 192.0.2.7" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert guarded.get("/api/jobs", headers=BEARER, **elsewhere).status_code == 200
    assert guarded.post("/sign-in", data={"key": KEY_TEXT}, **elsewhere).status_code == 303
    assert guarded.get("/api/jobs", **here).status_code == 200  # who is in stays in


def test_right_keys_are_never_counted(guarded: FlaskClient) -> None:
    for _ in range(30):
        assert guarded.get("/api/jobs", headers=BEARER).status_code == 200


def test_the_address_is_the_strangers_and_not_the_proxys(
    settings: Settings, make_app: MakeApp
) -> None:
    client = make_app(replace(settings, agent_key=KEY_TEXT, trusted_proxies=1)).test_client()
    wrong = {"Authorization": "Bearer wrong"}
    for number in range(11):
        # What the stranger claims to have come from stands before what the proxy saw.
        claimed = {"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.7"}
        answer = client.get("/api/jobs", headers={**wrong, **claimed})
    assert answer.status_code == 429
    other = {"X-Forwarded-For": "192.0.2.8"}
    assert client.get("/api/jobs", headers={**BEARER, **other}).status_code == 200


def test_all_addresses_of_one_customer_are_one() -> None:
    wrong = WrongKeys()
    for number in range(10):
        wrong.add(f"2001:db8::{number}")
    with pytest.raises(Exception, match="Too many wrong keys"):
        wrong.require_patience("2001:db8::ffff")
    wrong.require_patience("2001:db8:0:1::1")


def test_strangers_cannot_fill_the_memory() -> None:
    wrong = WrongKeys()
    for number in range(2 * MOST_ADDRESSES + 5):
        wrong.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        assert len(wrong._storage.events) <= MOST_ADDRESSES
    for _ in range(10):
        wrong.add("192.0.2.7")
    with pytest.raises(Exception, match="Too many wrong keys"):
        wrong.require_patience("192.0.2.7")


@pytest.mark.parametrize("mode", MODES)
def test_guessing_is_slowed_down_in_every_mode(mode: str, tmp_path: Path) -> None:
    def ask(address: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=60, source_address=(address, 0)
        )
        with closing(connection):
            connection.request("GET", "/api/jobs", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Retry-After", "")

    with running(mode, tmp_path, AGENT_KEY=KEY_TEXT, BROKER_URL=NO_BROKER) as server:
        wrong = {"Authorization": "Bearer wrong"}
        for _ in range(9):
            assert ask("127.0.0.1", wrong) == (401, "")
        with listening(server, **wrong) as stranger:  # the tenth
            assert stranger.receive(timeout=30).startswith("44")
        status, wait = ask("127.0.0.1", BEARER)
        assert status == 429
        assert 1 <= int(wait) <= 60
        with listening(server, **BEARER) as blocked:
            assert "Too many wrong keys" in blocked.receive(timeout=30)
        assert ask("127.0.0.2", BEARER) == (200, "")
