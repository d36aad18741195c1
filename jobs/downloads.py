"""A published result in another form, made when somebody asks for it.

`relay export` does it, in a process of its own at a lower priority: that takes from seconds to
minutes of a core, needs packages that a web host may lack (then it says so), and must not hold up
other clients. Who asks for what is just being made shares it. What is written lies in DATA_DIR/tmp
until all who wait have opened it; nothing is kept, since a result may have any number of forms.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cvat_io.forms import TOLERANCE, Form
from errors import ConflictError, InputError, NotFoundError, one_line
from jobs import audit, store
from jobs.db import Database
from jobs.files import JobFiles
from jobs.store_inputs import export_path

ROOT = Path(__file__).resolve().parent.parent
_AT_ONCE = 2  # processes of one server
_MOST_SECONDS = 3600.0  # of one
_PATIENCE = 600.0  # seconds that somebody waits for others' downloads
_SAID_BYTES = 1 << 16  # of what the process says that are looked at
_INPUT_FAULT = 2  # exit code: its last line on stderr is a sentence for people
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# It ends with the server that asked for it: then its stdin is closed.
_PROGRAM = """
import os, signal, sys, threading
def follow():
    os.read(0, 1)  # not by sys.stdin, whose lock would be in the way at the end
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
if hasattr(os, "nice"):
    os.nice(5)
import cli
sys.exit(cli.main(sys.argv[1:]))
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants. `run`: its number, None for the latest that is published.

    `tolerance`: of polygons, in pixels; `shard_mb`: of a CVAT archive in parts; None: not said.
    """

    job_id: str
    form: Form
    run: int | None = None
    tolerance: float | None = None
    shard_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """An open file, its length, and what people should know of it."""

    file: IO[bytes]
    bytes: int
    notes: tuple[str, ...]


class Downloads:
    """Makes forms of results, a few at once. Thread-safe."""

    def __init__(self, database: Database, files: JobFiles) -> None:
        self._database = database
        self._files = files
        self._slots = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()  # of what follows
        self._works: dict[Wanted, _Work] = {}
        self._users: Counter[Wanted] = Counter()

    def begin(self, wanted: Wanted) -> Making:
        """Find what is needed; the work begins with the first `poll`.

        Where somebody waits for the very same, the work is shared, and is done once.
        Raises NotFoundError where there is no such result, ConflictError where files are missing.
        """
        with self._database.read() as session:
            run = store.published_run(session, wanted.job_id, wanted.run)
            if run is None:
                raise NotFoundError(f"Job {wanted.job_id} has no such result.")
            images = None
            if wanted.form.needs_images:
                images = export_path(session, self._files, wanted.job_id, run.images_revision)
                if not images.is_file():
                    raise ConflictError(
                        f"The images of job {wanted.job_id} are not here any more: upload its "
                        "export with images again."
                    )
            result = self._files.result(wanted.job_id, run.revision, run.number)
            number = run.number
        tolerance = wanted.tolerance
        if wanted.form is Form.POLYGONS and tolerance is None:
            tolerance = TOLERANCE
        # With nothing left open: equal ones give the same bytes.
        key = replace(wanted, run=number, tolerance=tolerance)
        with self._lock:
            if key not in self._works:
                self._works[key] = _Work(self, key, result, images)
            self._users[key] += 1
            return Making(self, key, self._works[key], number)

    def leave(self, key: Wanted) -> None:
        """One who waited for a work is gone; it ends with the last of them."""
        with self._lock:
            self._users[key] -= 1
            if self._users[key]:
                return
            del self._users[key]
            work = self._works.pop(key)
        work.close()

    def note(self, wanted: Wanted, number: int, made: Made) -> None:
        """Note in the audit that somebody fetched a form of run `number`."""
        what = " ".join((f"run {number} as {wanted.form}", *made.notes))
        audit.note(self._database, "download", wanted.job_id, what)

    def take_slot(self) -> bool:
        """Whether one more process may run now; then `give_slot` must follow."""
        return self._slots.acquire(blocking=False)

    def give_slot(self) -> None:
        """Let somebody else begin."""
        self._slots.release()

    def temporary(self, suffix: str) -> Path:
        """A new name for what is being made."""
        return self._files.temporary(suffix)


class Making:
    """Somebody's wait for one form: `poll` until it is done, `take` it, and `close` in any case."""

    def __init__(self, downloads: Downloads, key: Wanted, work: _Work, number: int) -> None:
        self.number = number  # of the run
        self._downloads = downloads
        self._key = key
        self._work = work
        self._began = time.monotonic()
        self._closed = False

    def poll(self) -> bool:
        """Begin as soon as there is room; returns whether the work is over. Never waits.

        Raises ConflictError where there is no room for too long, InputError after an hour.
        """
        over = self._work.poll()
        if not self._work.begun and time.monotonic() - self._began > _PATIENCE:
            raise ConflictError(
                "Others' downloads are being made and take all the room: try again later."
            )
        return over

    def take(self) -> Made:
        """What was made, once.

        Raises InputError with the sentence where it could not be, OSError where the disk is full.
        """
        return self._work.take()

    def close(self) -> None:
        """Wait no more: what nobody waits for ends, and leaves nothing. May be called again."""
        if not self._closed:
            self._closed = True
            self._downloads.leave(self._key)


class _Work:
    """One form while it is made, for all who wait for it. Thread-safe but for `close`."""

    def __init__(
        self, downloads: Downloads, wanted: Wanted, result: Path, images: Path | None
    ) -> None:
        self._downloads = downloads
        self._wanted = wanted
        self._turn = threading.Lock()
        self._since = 0.0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._parts = wanted.form is Form.CVAT
        self._out = downloads.temporary("" if self._parts else wanted.form.suffix)
        self._arguments = ["export", str(result), "--format", wanted.form, "--out", str(self._out)]
        if images is not None:
            self._arguments += ["--images", str(images)]
        if wanted.tolerance is not None:
            self._arguments += ["--tolerance", str(wanted.tolerance)]
        if wanted.shard_mb is not None:
            self._arguments += ["--shard-mb", str(wanted.shard_mb)]
        self._child: subprocess.Popen[bytes] | None = None
        self._notes: tuple[str, ...] | None = None
        self._failure: Exception | None = None

    @property
    def begun(self) -> bool:
        """Whether there was room for it."""
        return self._child is not None

    def poll(self) -> bool:
        """Begin as soon as there is room; returns whether the work is over. Never waits."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._child is None:
                if self._downloads.take_slot():
                    self._start()
                return False
            if self._child.poll() is not None:
                return True
            if time.monotonic() - self._since > _MOST_SECONDS:
                raise InputError(
                    f"Making the form {self._wanted.form} takes more than an hour here: download "
                    "the result, and use `relay export` where there is time."
                )
            return False
        finally:
            self._turn.release()

    def take(self) -> Made:
        """What was made, with an open file for each who asks."""
        with self._turn:
            if self._notes is None and self._failure is None:
                try:
                    self._notes = self._finish()
                except (InputError, OSError, RuntimeError) as exc:
                    self._failure = exc
            if self._failure is not None:
                raise self._failure
            file = self._out.open("rb")
        return Made(file, os.fstat(file.fileno()).st_size, self._notes or ())

    def close(self) -> None:
        """End what still runs and remove what is left of it."""
        child = self._child
        if child is not None:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
            if child.stdin is not None:
                child.stdin.close()
            child.wait()
            self._downloads.give_slot()
        self._said.close()
        if self._out.is_dir():
            shutil.rmtree(self._out, ignore_errors=True)
        else:
            self._out.unlink(missing_ok=True)

    def _finish(self) -> tuple[str, ...]:
        """Look how it ended, and put parts together; returns what people should know."""
        assert self._child is not None
        self._said.seek(0)
        lines = self._said.read(_SAID_BYTES).decode(errors="replace").splitlines()
        code = self._child.returncode
        if code == _INPUT_FAULT and lines:
            self._require_disk(lines[-1])
            raise InputError(lines[-1])
        if code != 0:
            _log.error("relay export ended with %s: %s", code, one_line(" ".join(lines), 4000))
            raise RuntimeError(f"relay export ended with {code}")
        if self._parts:
            self._pack()
        return tuple(lines)

    def _start(self) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=os.environ | {"PYTHONPATH": path},
            )
        except BaseException:
            self._downloads.give_slot()
            raise
        self._since = time.monotonic()

    def _require_disk(self, sentence: str) -> None:
        """Raise OSError where the server's disk took no more: nobody asked for a place on it."""
        if self._out.name in sentence:
            for number in _DISK_REFUSES:
                if os.strerror(number) in sentence:
                    raise OSError(number, os.strerror(number), str(self._out))

    def _pack(self) -> None:
        """Put the parts into one archive, as they are: it is no result itself."""
        folder, self._out = self._out, self._downloads.temporary(".zip")
        try:
            with zipfile.ZipFile(self._out, "w", zipfile.ZIP_STORED) as archive:
                for part in sorted(folder.iterdir()):
                    archive.write(part, f"{self._wanted.job_id}_{part.name}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
