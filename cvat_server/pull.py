"""A job or a task of the server becomes an archive, "CVAT for video 1.1" with its images.

What breaks off goes on where it was when it is asked for again: the server keeps an archive that it
has made for some hours, and what has arrived of it stays beside the target under a hidden name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from config import Settings
from cvat_io.atomic import require_writable
from cvat_io.model import ExportKind
from cvat_io.reader import open_export
from cvat_server.server import Server, at_home
from cvat_server.state import Memories, fingerprint, head_of
from cvat_server.target import Target, target_of
from errors import ConflictError, InputError, NotFoundError

FORMAT = "CVAT for video 1.1"
_CHUNK = 1 << 20
_TRIES = 3  # at a job that somebody is working on

Tell = Callable[[int, int], None]
"""Hears how many bytes have come, and of how many (0: not known)."""


def pull(
    server: Server,
    target: Target,
    settings: Settings,
    *,
    out: Path | None = None,
    with_images: bool = True,
    unfinished: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Fetch an export of `target` as it is now, and remember what it was made of.

    `out`: where to; default: DOWNLOADS_PATH, under the name that the watched folder goes by.
    `unfinished`: also while a push of ours to it broke off or still goes on.
    Raises InputError with one sentence for all that a person or a later try can mend.
    """
    if out is None:
        settings.downloads_path.mkdir(parents=True, exist_ok=True)
        out = settings.downloads_path / f"{target.stem}.zip"
    out = require_writable(out)
    memories = Memories(settings)
    for _ in range(_TRIES):
        entity = server.entity(target)
        if not unfinished:
            _require_pushed(server, memories, target, entity)
        before = _state(server, target)
        if before[1] and not with_images:
            raise InputError(
                f"Frames of {target} are deleted in CVAT ({len(before[1])}), which an export "
                "without images does not tell from frames that were emptied: pull it with images."
            )
        part = _fetch(
            server, target, out, with_images, tell or _nobody, settings.limits.archive_bytes
        )
        if before == _state(server, target):
            break
        _drop(part)
    else:
        raise ConflictError(
            f"Somebody is changing {target} right now: pull it when they have saved and left."
        )
    try:
        with open_export(part, settings.limits) as export:
            if target_of(export.meta, export.path.name) != target:
                raise InputError(
                    f"CVAT gave another archive than that of {target}: try again later."
                )
            head = head_of(export.meta)
    except InputError:
        _drop(part)
        raise
    part.replace(out)
    with memories.changing(target) as memory:  # not before: what is seen is not pulled again
        memory.pulls.pop(head, None)
        memory.pulls[head], memory.deleted[head] = before
        memory.seen = str(entity.updated_date)
    _facts(part).unlink(missing_ok=True)
    return out


def _state(server: Server, target: Target) -> tuple[str, frozenset[int]]:
    """What an export is made of: the fingerprint of all, and the frames that are left out."""
    return fingerprint(server.annotations(target)), server.deleted_frames(target)


def _require_pushed(server: Server, memories: Memories, target: Target, entity: Any) -> None:
    """Make sure that no half of a result of ours would be taken for what people drew."""
    task = int(entity.task_id) if target.kind is ExportKind.JOB else None
    for other in memories.unfinished(target, task):
        if target.kind is ExportKind.TASK and other != target:
            try:
                if int(server.entity(other).task_id) != target.number:
                    continue
            except NotFoundError:
                continue
        raise ConflictError(
            f"A push of ours to {other} is not finished, so that {target} holds a part of its "
            "result: push that again first, or pull with --unfinished."
        )


def _fetch(
    server: Server, target: Target, out: Path, with_images: bool, tell: Tell, limit: int
) -> Path:
    """Let the server make the archive, and bring it beside `out`."""
    from cvat_sdk.core.downloading import Downloader

    with server.asking(target):
        made = Downloader(server.client).prepare_file(
            server.endpoint(target, "create_dataset_export_endpoint"),
            url_params={"id": target.number},
            query_params={"format": FORMAT, "save_images": with_images, "location": "local"},
        )
    if not made.result_url:
        raise InputError(f"CVAT made no archive of {target}: try again later.")
    part = out.with_name(f".{out.name}.part.zip")
    with server.asking(target):
        _download(server, at_home(made.result_url, server.url), part, tell, limit)
    return part


def _download(server: Server, url: str, part: Path, tell: Tell, limit: int) -> None:
    """Bring what is missing of `url`; what has come stays in `part` whatever happens."""
    from cvat_sdk.core.helpers import make_request_headers
    from cvat_sdk.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    api = server.client.api_client
    headers = make_request_headers(api)
    have, mark = _arrived(part, url)
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    response = api.rest_client.GET(url, headers=headers, _parse_response=False, _check_status=False)
    with closing(response):
        going_on = response.status == 206 and _begins(response, have)
        if have and response.status in (206, 416) and not going_on:
            _drop(part)  # all of it was here, or the server means another piece: from the beginning
            return _download(server, url, part, tell, limit)
        if response.status not in (200, 206):
            raise ApiException(status=response.status, reason="the archive was not given")
        have = have if going_on else 0
        length = int(response.headers.get("Content-Length") or 0)
        total = have + length if length else 0
        if max(total, have) > limit:
            raise InputError(
                f"The archive has {total} bytes, more than the limit of {limit}: pull a smaller "
                "job, or raise MAX_ARCHIVE_BYTES."
            )
        _note(part, url, response)
        with part.open("ab" if going_on else "wb") as file:
            tell(have, total)
            try:
                while chunk := response.read(_CHUNK, decode_content=False):
                    file.write(chunk)
                    have += len(chunk)
                    tell(have, total)
            except HTTPError as exc:
                raise InputError(
                    f"The download broke off after {have} of {total or 'unknown'} bytes: run the "
                    "command again, it goes on from there."
                ) from exc
            file.flush()
            os.fsync(file.fileno())
    return None


def _arrived(part: Path, url: str) -> tuple[int, str]:
    """How much of this very archive has come, and the mark by which the server knows it."""
    try:
        facts = json.loads(_facts(part).read_text(encoding="utf-8"))
        if facts["url"] == url and facts["mark"]:
            return part.stat().st_size, str(facts["mark"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _note(part: Path, url: str, response: Any) -> None:
    mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    # A weak mark does not promise equal bytes (RFC 9110, 13.1.5).
    mark = "" if mark.startswith("W/") else mark
    _facts(part).write_text(json.dumps({"url": url, "mark": mark}), encoding="utf-8")


def _begins(response: Any, have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _facts(part: Path) -> Path:
    return part.with_suffix(".json")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _facts(part).unlink(missing_ok=True)


def _nobody(done: int, total: int) -> None:
    """Hear of progress and do nothing."""
