"""Settings: one frozen dataclass, read once from the environment and `.env`.

Every setting is documented in `example.env` and docs/reference/settings.md (a test holds the three
together). A value that cannot be used is named when the program starts.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from errors import SettingsError

T = TypeVar("T")

MOST_THREADS = 1024
MOST_SPANS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a stranger's file we are willing to take. Sizes are bytes, counts are counts."""

    archive_bytes: int = 64 * 2**30
    archive_members: int = 200_000
    archive_ratio: int = 500  # unpacked / packed, per member and for the whole archive
    image_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set from outside. Paths are absolute."""

    host: str = "127.0.0.1"
    port: int = 5000
    data_dir: Path = field(default_factory=lambda: Path("data").absolute())
    downloads_path: Path = field(default_factory=lambda: Path("data/downloads").absolute())
    model_dir: Path = field(default_factory=lambda: Path("data/models").absolute())
    sequences_path: Path = field(default_factory=lambda: Path("data/sequences").absolute())
    results_path: Path = field(default_factory=lambda: Path("data/results").absolute())
    database_url: str = ""  # empty: SQLite in data_dir
    broker_url: str = ""  # empty: the embedded broker in data_dir
    agent_key: str = ""  # empty: agent.key in data_dir; without either no sign-in, loopback only
    trusted_proxies: int = 0  # reverse proxies in front whose X-Forwarded-* headers are believed
    engine: str = "auto"
    max_attempts: int = 4  # of a span, before its run fails
    threads: int = 0  # CPU threads of a run; 0: all that the process may use
    compile: bool = False  # translate networks for this machine before they run
    spans_at_once: int = 1  # that one worker computes, each in a thread
    ignore_labels: frozenset[str] = frozenset()
    cvat_url: str = ""  # of a CVAT server to pull from and push to
    cvat_token: str = field(default="", repr=False)  # an access token of that server
    cache_bytes: int = 8 * 2**30  # of derived files in data_dir
    debug: bool = False
    log_format: str = "text"
    limits: Limits = field(default_factory=Limits)


def load(env: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings; the environment wins over the `.env` file.

    `env`: default `os.environ`. `dotenv`: default `.env` in the working directory, may be missing.
    Raises SettingsError that names the variable, the value and what it should be.
    """
    values = _read_dotenv(dotenv if dotenv is not None else Path(".env"))
    values.update(os.environ if env is None else env)

    def take(name: str, read: Callable[[str], T], default: T, expected: str) -> T:
        raw = values.get(name, "").strip()
        if not raw:
            return default
        try:
            return read(raw)
        except ValueError as exc:
            raise SettingsError(f"{name}={raw!r} cannot be used: give {expected}.") from exc

    try:
        data_dir = take("DATA_DIR", _path, Path("data").absolute(), "a folder")
    except FileNotFoundError as exc:
        raise SettingsError("The working directory is gone: change to another one.") from exc
    base = Limits()
    settings = Settings(
        host=take("HOST", str, "127.0.0.1", "a host name or address"),
        port=take("PORT", _whole(0, 65535), 5000, "a whole number from 0 to 65535"),
        data_dir=data_dir,
        downloads_path=take("DOWNLOADS_PATH", _path, data_dir / "downloads", "a folder"),
        model_dir=take("MODEL_DIR", _path, data_dir / "models", "a folder"),
        sequences_path=take("SEQUENCES_PATH", _path, data_dir / "sequences", "a folder"),
        results_path=take("RESULTS_PATH", _path, data_dir / "results", "a folder"),
        database_url=take(
            "DATABASE_URL", _url("postgresql", "postgres", "sqlite"), "",
            "postgresql://user:password@host/name or sqlite:////absolute/path.db",
        ),
        broker_url=take(
            "BROKER_URL", _url("amqp", "amqps", "pyamqp", "redis", "rediss", "redis+socket"), "",
            "amqp://user:password@host:5672// (RabbitMQ), or nothing for the embedded broker",
        ),
        agent_key=take("AGENT_KEY", str, "", "a secret of at least 16 characters"),
        trusted_proxies=take(
            "TRUSTED_PROXIES", _whole(0, 10), 0, "how many reverse proxies are in front, 0 to 10"
        ),
        engine=take("ENGINE", str, "auto", "an engine's name (see `relay models`)"),
        threads=take(
            "THREADS", _whole(0, MOST_THREADS), 0,
            f"a whole number, 0 (all cores) to {MOST_THREADS}",
        ),
        compile=take("COMPILE", _flag, False, "true or false"),
        spans_at_once=take(
            "SPANS_AT_ONCE", _whole(1, MOST_SPANS), 1, f"a whole number from 1 to {MOST_SPANS}"
        ),
        max_attempts=take("MAX_ATTEMPTS", _whole(1, 100), 4, "a whole number from 1 to 100"),
        ignore_labels=take("IGNORE_LABELS", _names, frozenset(), "label names, comma separated"),
        cvat_url=take("CVAT_URL", str, "", "the address of a CVAT server"),
        cvat_token=take("CVAT_TOKEN", str, "", "an access token of that server"),
        cache_bytes=take("MAX_CACHE_BYTES", _whole(0), 8 * 2**30, "a number of bytes"),
        debug=take("DEBUG", _flag, False, "true or false"),
        log_format=take("LOG_FORMAT", _choice("text", "json"), "text", "text or json"),
        limits=Limits(
            archive_bytes=take(
                "MAX_ARCHIVE_BYTES", _whole(1), base.archive_bytes, "a number of bytes"
            ),
            archive_members=take(
                "MAX_ARCHIVE_MEMBERS", _whole(1), base.archive_members, "a number of files"
            ),
            archive_ratio=take(
                "MAX_ARCHIVE_RATIO", _whole(1), base.archive_ratio, "a whole number, at least 1"
            ),
            image_pixels=take(
                "MAX_IMAGE_PIXELS", _whole(1), base.image_pixels, "a number of pixels"
            ),
        ),
    )  # fmt: skip
    if settings.agent_key and len(settings.agent_key) < 16:
        raise SettingsError("AGENT_KEY is too short: use a secret of at least 16 characters.")
    _require_cvat(settings)
    return settings


def _require_cvat(settings: Settings) -> None:
    """Values that may be secret, or hold one, are not repeated in the sentence."""
    if settings.cvat_url:
        try:
            parts = urlsplit(settings.cvat_url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "CVAT_URL cannot be used: give an address such as https://cvat.example.org, "
                "without a name or password (the token goes into CVAT_TOKEN)."
            )
    if not re.fullmatch(r"[!-~]*", settings.cvat_token):
        raise SettingsError(
            "CVAT_TOKEN cannot be used: give the access token as CVAT showed it, without blanks."
        )


def _read_dotenv(file: Path) -> dict[str, str]:
    try:
        if not file.is_file():
            return {}
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        reason = (exc.strerror or "unknown reason") if isinstance(exc, OSError) else "no UTF-8 text"
        raise SettingsError(f"{file} cannot be read ({reason}): see example.env.") from exc
    for line in parse_stream(io.StringIO(text)):
        if line.error:
            raise SettingsError(
                f"Line {line.original.line} of {file} cannot be read: write NAME=value, as "
                "example.env does."
            )
    return {k: v for k, v in dotenv_values(stream=io.StringIO(text)).items() if v is not None}


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _path(raw: str) -> Path:
    if "\0" in raw:
        raise ValueError("NUL in a path")
    try:
        return Path(raw).expanduser().absolute()
    except RuntimeError as exc:  # ~somebody, whom this machine does not know
        raise ValueError(raw) from exc


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def read(raw: str) -> int:
        number = int(raw.replace("_", ""))
        if number < low or (high is not None and number > high):
            raise ValueError(raw)
        return number

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    def read(raw: str) -> str:
        if raw.partition("://")[0].partition("+psycopg")[0] not in schemes or "://" not in raw:
            raise ValueError(raw)
        # Brokers may be several, one to take over from another. A bad port raises by itself.
        addresses = raw.split(";") if "amqp" in schemes else [raw]
        if 0 in [urlsplit(address).port for address in addresses]:
            raise ValueError(raw)
        return raw

    return read


def _names(raw: str) -> frozenset[str]:
    return frozenset(part.strip() for part in raw.split(",") if part.strip())


def _choice(*known: str) -> Callable[[str], str]:
    def read(raw: str) -> str:
        if raw.lower() not in known:
            raise ValueError(raw)
        return raw.lower()

    return read


def _flag(raw: str) -> bool:
    value = raw.lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ValueError(raw)
