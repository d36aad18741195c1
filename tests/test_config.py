"""Promise: settings come from the environment and .env, and a bad value is named at start."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from errors import MAX_SENTENCE, InputError, SettingsError, one_line


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=6000\nENGINE=builtin\nIGNORE_LABELS=HUD, logo\n")
    settings = config.load({"PORT": "7000"}, file)
    assert settings.port == 7000
    assert settings.engine == "builtin"
    assert settings.ignore_labels == {"HUD", "logo"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("DEBUG", "maybe"),
        ("THREADS", "-1"),
        ("THREADS", "all"),
        ("DATABASE_URL", "mysql://x"),
        ("BROKER_URL", "localhost:5672"),
        ("BROKER_URL", "amqp://guest:guest@localhost:port//"),
        ("BROKER_URL", "amqp://localhost:99999"),
        ("BROKER_URL", "amqp://one:5672;amqp://two:x"),
        ("DATABASE_URL", "postgresql://localhost:port/relay"),
        ("MAX_ARCHIVE_BYTES", "-1"),
        ("AGENT_KEY", "short"),
        ("DATA_DIR", "a\0b"),
    ],
)
def test_a_bad_value_is_named_with_what_it_should_be(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load({name: value}, tmp_path / "none")
    assert name in str(caught.value)
    assert len(str(caught.value)) <= MAX_SENTENCE


def test_sentences_fit_on_one_clean_line() -> None:
    hostile = "a\x1b[31m\nb\u202ec\ud800" + "x" * 1000
    sentence = str(InputError(hostile))
    assert sentence.isprintable()
    assert len(sentence) == MAX_SENTENCE
    assert one_line(" a \t b ") == "a b"


@pytest.mark.parametrize(
    ("host", "inside"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_only_loopback_addresses_count_as_inside(host: str, inside: bool) -> None:
    assert config.is_loopback(host) is inside
