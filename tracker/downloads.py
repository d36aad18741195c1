"""Getting published weights: resumed where a download broke off, and compared before they count.

A file is written as NAME.part, compared with what was published, flushed and renamed: under its own
name there is only ever a whole and right one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from errors import InputError
from tracker import models, pins
from tracker.models import Model

Progress = Callable[[int, int], None]
"""Hears of bytes: so many done, of so many (0: unknown)."""

_TRIES = 5  # in a row without a byte
_PAUSE_SECONDS = 1.0
_WAIT_SECONDS = 30.0  # for an answer, and for the next bytes
_PATTERNS = ["*.json", "*.safetensors"]  # at the top of a repository; the rest is for others


def get(name: str, on_progress: Progress | None = None) -> tuple[pins.Checked, ...]:
    """Make the weights of `name` be here, whole and right; what is here already is only checked.

    Raises InputError with one sentence for whatever stands in the way: no network, a page in place
    of the file, a licence that is not accepted, a wrong file, no room, a folder that cannot be
    written.
    """
    one, folder = models.model(name), models.folder()
    with _writable(folder), _alone(folder / f".{one.file}.lock", name):
        if not models.is_present(name):
            if one.repository:
                _get_repository(one, models.place(name))
            else:
                _get_file(one, models.place(name), on_progress or _nobody)
        return models.check(name)


def _get_file(one: Model, target: Path, tell: Progress) -> None:
    part = target.with_name(target.name + ".part")
    tag = target.with_name(target.name + ".part.tag")  # which version of the file `part` is of
    _require_room(one, target.parent, _size_of(part))
    failed, most = 0, _size_of(part)
    while True:
        try:
            _continue(one, part, tag, tell)
            break
        except _BrokenOffError as exc:
            failed = 0 if _size_of(part) > most else failed + 1
            most = max(most, _size_of(part))
            if failed >= (_TRIES if _size_of(part) else 1):
                goes_on = bool(one.sha256 or (tag.is_file() and tag.read_text()))
                raise _not_reached(one, _size_of(part) if goes_on else 0) from exc
            time.sleep(_PAUSE_SECONDS * failed)
    try:
        by_hand = f"nothing was kept; get {models.files_of(one)} by hand into {target.parent}"
        models.refuse_wrong(one, part, f"What {_host(one.url)} gave", by_hand)
        if one.sha256 and pins.digest_of(part) != one.sha256:
            raise InputError(
                f"What {_host(one.url)} gave is not the published {one.file} (another SHA-256): "
                f"{by_hand}."
            )
    except InputError:
        part.unlink()
        tag.unlink(missing_ok=True)
        raise
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    tag.unlink(missing_ok=True)


class _BrokenOffError(Exception):
    """The connection failed; the words say how."""


def _continue(one: Model, part: Path, tag: Path, tell: Progress) -> None:
    """One request for what `part` lacks. Raises _BrokenOffError, InputError or OSError."""
    import httpx2

    have = _size_of(part)
    version = tag.read_text() if tag.is_file() else ""
    if have and not version and not one.sha256:
        have = 0  # nothing could tell whether the rest is of the same file
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    try:
        with (
            httpx2.Client(follow_redirects=True, timeout=_WAIT_SECONDS) as client,
            client.stream("GET", one.url, headers=headers) as answer,
        ):
            if answer.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
                if answer.headers.get("content-range", "") == f"bytes */{have}":
                    return  # it is whole: only the renaming is left
                part.unlink()
                raise _BrokenOffError("there were more bytes here than the file has")
            if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
                raise _BrokenOffError(f"it answers {answer.status_code}")
            if answer.status_code >= httpx2.codes.BAD_REQUEST:
                raise _refused(one, f"answers {answer.status_code}")
            if "text/html" in answer.headers.get("content-type", ""):
                raise _refused(one, "gives a page instead of the file")
            resumed = answer.status_code == httpx2.codes.PARTIAL_CONTENT
            if resumed and not answer.headers.get("content-range", "").startswith(f"bytes {have}-"):
                raise _refused(one, "gives another part than was asked for")
            if resumed and version and _version(answer.headers) not in {"", version}:
                part.unlink()
                raise _BrokenOffError("the file has changed there")
            have = have if resumed else 0
            length = int(answer.headers.get("content-length", 0))
            total = have + length if length else 0
            if not resumed:
                part.write_bytes(b"")  # first: the tag must never be of other bytes
            tag.write_text(_version(answer.headers))
            with part.open("ab" if resumed else "wb") as file:
                tell(have, total)
                for block in answer.iter_raw():
                    file.write(block)
                    have += len(block)
                    tell(have, total)
            if total and have < total:
                raise _BrokenOffError("the connection was cut")
    except httpx2.TransportError as exc:
        raise _BrokenOffError(str(exc) or type(exc).__name__) from exc
    except httpx2.HTTPError as exc:
        raise _refused(one, f"cannot be asked ({exc})") from exc


def _version(headers: Mapping[str, str]) -> str:
    """What tells a file's versions apart: a strong tag, else when it was changed, else ""."""
    etag = headers.get("etag", "")
    if etag and not etag.startswith("W/"):  # a weak one may stand for other bytes
        return etag
    return headers.get("last-modified", "")


def _get_repository(one: Model, target: Path) -> None:
    """Download a repository's files into a folder beside `target`, compare them, and rename it."""
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        XetDownloadError,
    )
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if sys.stderr is None or not sys.stderr.isatty():
        disable_progress_bars()
    part = target.with_name(target.name + ".part")
    _require_room(one, target.parent, _size_of(part))
    try:
        info = HfApi().model_info(one.repository, files_metadata=True, timeout=_WAIT_SECONDS)
        snapshot_download(
            one.repository, revision=info.sha, local_dir=part, allow_patterns=_PATTERNS
        )
    except (GatedRepoError, RepositoryNotFoundError) as exc:
        if one.gated:
            raise InputError(
                f"The weights of {one.name} are given only to those who accepted their licence: do "
                f"so on {one.source}, sign in with `hf auth login`, and run `relay models get "
                f"{one.name}` again; or put {models.files_of(one)} into {target}."
            ) from exc
        raise _refused(one, "does not give it") from exc
    except (
        httpx2.TransportError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
    ) as exc:
        raise _not_reached(one, _size_of(part)) from exc
    except HfHubHTTPError as exc:
        raise _refused(one, f"answers {exc.response.status_code}") from exc
    for file in info.siblings or ():
        path = part / file.rfilename
        published = file.lfs.sha256 if file.lfs else ""
        if path.is_file() and published and pins.digest_of(path) != published:
            path.unlink()
            raise InputError(
                f"What {_host(one.source)} gave as {file.rfilename} of {one.name} is not the "
                "published file (another SHA-256): it was not kept; run the same command again."
            )
    if not all((part / name).is_file() for name in (models.CONFIG, models.TENSORS)):
        raise _refused(one, f"holds no {models.CONFIG} and {models.TENSORS}")
    shutil.rmtree(part / ".cache", ignore_errors=True)
    for path in [p for p in part.rglob("*") if p.is_file()]:
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    if not target.is_dir():
        part.rename(target)
        return
    for path in [p for p in part.rglob("*") if p.is_file()]:  # somebody put some of them there
        place = target / path.relative_to(part)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(part, ignore_errors=True)


def _refused(one: Model, what: str) -> InputError:
    return InputError(
        f"{_host(one.url or one.source)} {what}: get {models.files_of(one)} in a browser, and put "
        f"{_it(one)} into {models.place_for(one)}."
    )


def _not_reached(one: Model, kept: int) -> InputError:
    host = _host(one.url or one.source)
    if kept:
        return InputError(
            f"{host} broke off after {kept / 1e6:,.0f} MB of {one.file}: run `relay models get "
            f"{one.name}` again, it goes on from there; or get {models.files_of(one)} elsewhere, "
            f"and put {_it(one)} into {models.place_for(one)}."
        )
    return InputError(
        f"{host} cannot be reached from here: get {models.files_of(one)} elsewhere, and put "
        f"{_it(one)} into {models.place_for(one)}."
    )


def _require_room(one: Model, folder: Path, have: int) -> None:
    free, needed = shutil.disk_usage(folder).free, one.size - have
    if needed > free:
        raise InputError(
            f"{one.name} needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are "
            "free: make room, or point MODEL_DIR to another folder."
        )


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing; what the system refuses becomes one sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as exc:
        raise InputError(
            f"{folder} cannot be written ({exc.strerror or exc}): make room, or point MODEL_DIR to "
            "another folder."
        ) from exc


@contextlib.contextmanager
def _alone(lock: Path, name: str) -> Iterator[None]:
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                # While it is held: who waits with the old file open sees that it has no name.
                with contextlib.suppress(OSError):
                    lock.unlink()
    except Timeout as exc:
        raise InputError(
            f"The weights of {name} are being downloaded already: wait for that."
        ) from exc


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0


def _it(one: Model) -> str:
    return "them" if one.repository else "it"


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _nobody(done: int, total: int) -> None:
    """Hear of progress and do nothing."""
