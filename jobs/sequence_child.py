"""Reading a stranger's video happens in a process of its own.

A file that makes a decoder crash, or eat the memory, ends that process and not the server; and the
clients of the server are not held up, since it runs at a lower priority. The child hears one line
of JSON on stdin and answers in lines of JSON on stdout. It leaves as soon as its stdin is closed,
so that it never outlives the server that asked. Of the machine's memory it gets a part only, where
the system can see to that (Linux).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config import Limits
from cvat_io.sequence import Found, SequenceKind
from cvat_io.sequence_archive import Made, Tell, first_picture, write_sequence
from errors import InputError, one_line

ROOT = Path(__file__).resolve().parent.parent
PICTURE_SIZE = 480  # pixels, the longer side
_TELL_EVERY = 0.3  # seconds between two lines on how far it is
SILENT_SECONDS = 600.0  # a child that tells of no frame for so long will never end
_POLITE = 5  # added to the process's niceness
_LEAST_MEMORY = 2**30  # bytes: frames of 4K need about half of it
_MEMORY_PARTS = 3  # of the machine's, of which a child gets one: a server has two of them


def make(
    source: Path,
    kind: SequenceKind,
    out: Path,
    *,
    root: Path,
    job_id: str,
    limits: Limits,
    tell: Tell,
    started: Callable[[subprocess.Popen[str]], None],
) -> Made:
    """Do what `write_sequence` does, in a child; `started` hears of it, to be able to end it."""
    request = {"do": "make", "job": job_id, **_of(source, kind, out, root, limits)}
    answer = _ask(request, source.name, tell, started)
    return Made(answer["frames"], answer["width"], answer["height"])


def picture(found: Found, out: Path, *, root: Path, limits: Limits) -> None:
    """Write the sequence's first frame to `out`, as a small JPEG file. Raises InputError."""
    request = {"do": "picture", **_of(found.path, found.kind, out, root, limits)}
    _ask(request, found.name, lambda _done, _total: None, lambda _child: None)


def _of(source: Path, kind: SequenceKind, out: Path, root: Path, limits: Limits) -> dict[str, Any]:
    return {
        "source": str(source), "kind": kind.value, "out": str(out), "root": str(root),
        "limits": asdict(limits), "memory": most_memory(),
    }  # fmt: skip


def most_memory() -> int:
    """How many bytes a child may take, by what this machine has."""
    if sys.platform == "win32":
        return _LEAST_MEMORY
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY, there // _MEMORY_PARTS)


def _ask(
    request: dict[str, Any],
    name: str,
    tell: Tell,
    started: Callable[[subprocess.Popen[str]], None],
) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    answer: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "jobs.sequence_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        encoding="utf-8",
    ) as child:
        started(child)
        assert child.stdin is not None
        assert child.stdout is not None
        heard, ended = [time.monotonic()], threading.Event()
        guard = threading.Thread(target=_end_silent, args=(child, heard, ended), daemon=True)
        guard.start()
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                heard[0] = time.monotonic()
                answer = json.loads(line)
                if "done" in answer:
                    tell(answer["done"], answer["total"])
        except BrokenPipeError:  # it was ended before it heard
            answer = {}
        finally:
            ended.set()
            child.kill()
            with suppress(BrokenPipeError):  # what it never heard is still to be written
                child.stdin.close()
    if "error" in answer:
        raise InputError(answer["error"])
    if "made" not in answer:
        raise InputError(
            f"Reading {one_line(name, 120)} was broken off, by a file that is damaged or needs too "
            "much memory, or because the server stops: convert the file, or open it again."
        )
    made: dict[str, Any] = answer["made"]
    return made


def _end_silent(
    child: subprocess.Popen[str], heard: Sequence[float], ended: threading.Event
) -> None:
    """End a child that hangs in a file: it would keep its slot from others for ever."""
    while not ended.wait(min(1.0, SILENT_SECONDS)):
        if time.monotonic() - heard[0] > SILENT_SECONDS:
            child.kill()
            return


def _main() -> None:
    request = json.loads(sys.stdin.readline())
    out = Path(request["out"])
    threading.Thread(target=_leave_with_parent, args=(out,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_POLITE)
    _bound_memory(request["memory"])
    last = [0.0]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - last[0] > _TELL_EVERY:
            last[0] = time.monotonic()
            _say({"done": done, "total": total})

    try:
        _say({"made": _do(request, out, tell)})
    except InputError as exc:
        out.unlink(missing_ok=True)
        _say({"error": str(exc)})
    except MemoryError:
        out.unlink(missing_ok=True)
        name, most = one_line(Path(request["source"]).name, 120), request["memory"] // 2**20
        _say(
            {
                "error": f"Reading {name} needs more than the {most} MB of memory that the server "
                "gives to it: scale it down, or convert it (for example to MP4 with ffmpeg)."
            }
        )
    except OSError as exc:
        out.unlink(missing_ok=True)
        _say(
            {
                "error": f"The sequence cannot be written ({exc.strerror or 'unknown reason'}): "
                "make room in DATA_DIR, then open it again."
            }
        )


def _bound_memory(most: int) -> None:
    """Let the system refuse this process more memory than that, in bytes."""
    if sys.platform == "win32":
        return
    import resource

    # What is written to, so that neither libraries nor room that is only reserved counts.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def _do(request: dict[str, Any], out: Path, tell: Tell) -> dict[str, Any]:
    source, root = Path(request["source"]), Path(request["root"])
    kind, limits = SequenceKind(request["kind"]), Limits(**request["limits"])
    if request["do"] == "picture":
        found = Found(source.name, kind, source)
        out.write_bytes(first_picture(found, root, limits, PICTURE_SIZE))
        return {}
    made = write_sequence(
        out, source, kind, root=root, job_id=request["job"], limits=limits, tell=tell
    )
    return asdict(made)


def _leave_with_parent(out: Path) -> None:
    sys.stdin.read()
    out.unlink(missing_ok=True)
    os._exit(1)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
