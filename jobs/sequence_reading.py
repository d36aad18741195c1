"""Reading sequences into archives: in the background, by child processes, a few at once.

DATA_DIR/making/<job>.json says how far one is, <job>.lock is held by whoever reads it (on all
machines), and <job>.source holds what was uploaded. A crash leaves at most such files, which the
next opening takes up or a sweep removes.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from config import Settings
from cvat_io.atomic import replacing
from cvat_io.sequence import Found, SequenceKind
from cvat_io.sequence_archive import Made
from errors import ConflictError, InputError
from jobs import sequence_child
from jobs.files import JobFiles, hash_file
from jobs.locks import locked

KIND = "sequence"
"""`kind` of the jobs that come of sequences, and of their revisions."""

_LOOKS, _LOOK_SECONDS = 20, 0.05
_AT_ONCE = 2  # children of one server
_KEPT_SECONDS = 24 * 3600.0  # what was uploaded and cannot be read is kept for so long
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the reading of one sequence is.

    `state`: "making" or "failed"; `error` says why. `done` of `total` frames are read; `total` is
    about right, or 0 where it is not known.
    """

    name: str
    kind: str
    origin: str
    state: str = "making"
    done: int = 0
    total: int = 0
    error: str = ""


Adopt = Callable[[str, Progress, Made, Path, str], None]
"""Makes the archive at the path a revision of the job; the last text is the source's stamp."""


class Reading:
    """The sequences that are being read. Thread-safe, and safe between servers."""

    def __init__(self, settings: Settings, adopt: Adopt) -> None:
        self._settings = settings
        self._adopt = adopt
        self._files = JobFiles(settings.data_dir)
        self._folder = settings.data_dir / "making"
        self._mutex = threading.Lock()
        self._slots = threading.Semaphore(_AT_ONCE)
        self._running: dict[str, Progress] = {}
        self._children: set[subprocess.Popen[str]] = set()
        self._closed = False

    def close(self) -> None:
        """End what is being read; what was uploaded waits for the next opening."""
        with self._mutex:
            self._closed = True
            for child in self._children:
                child.kill()

    def begin(self, job_id: str, progress: Progress, path: Path | None, stamp: str) -> None:
        """Let a thread read a sequence, unless somebody does already.

        `path`: where it lies, None for what was uploaded. `stamp`: what tells it from a later one,
        empty for the hash of the file.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        held = ExitStack()
        for _ in range(_LOOKS):
            try:
                held.enter_context(locked(self._folder / f"{job_id}.lock", wait=False))
                break
            except BlockingIOError:
                now = self._read(job_id)
                if now is not None and now.state == "making":
                    return
                time.sleep(_LOOK_SECONDS)  # it failed, and is just being let go of
        else:
            return
        with self._mutex:
            if self._closed:
                held.close()
                return
            self._running[job_id] = progress
        self._write(job_id, progress)
        run = copy_context().run  # the audit asks who acts
        thread = threading.Thread(
            target=run, args=(self._work, held, job_id, progress, path, stamp), daemon=True
        )
        thread.start()

    def progress(self, job_id: str) -> Progress | None:
        """How far the reading of a job's sequence is; None where it is not being read."""
        with self._mutex:
            if job_id in self._running:
                return self._running[job_id]
        progress = self._read(job_id)
        if progress is None or progress.state != "making":
            return progress
        try:
            with locked(self._folder / f"{job_id}.lock", wait=False):
                # Nobody reads it (any more); it may also have come to its end just now.
                if self._read(job_id) is None:
                    return None
        except BlockingIOError:
            return progress
        return replace(
            progress,
            state="failed",
            error="Reading was broken off when the server stopped: open it again.",
        )

    def all(self) -> dict[str, Progress]:
        """How far all are that are being read or could not be, by job."""
        if not self._folder.is_dir():
            return {}
        ids = [path.stem for path in self._folder.glob("_*.json")]
        read = ((job_id, self.progress(job_id)) for job_id in ids)
        return {job_id: progress for job_id, progress in read if progress is not None}

    def has_upload(self, job_id: str) -> bool:
        """Whether something was uploaded that is not read yet."""
        return self._source(job_id).is_file()

    def put(self, job_id: str, progress: Progress, path: Path) -> None:
        """Keep an uploaded file until it is read; it is moved.

        Raises ConflictError while one of this name is being read.
        """
        with self._turn(job_id, progress.name):
            path.replace(self._source(job_id))
            self._write(job_id, replace(progress, state="failed", error="Open it again."))

    def forget(self, job_id: str, name: str) -> None:
        """Give up what was uploaded, and what is said of it. Raises ConflictError as `put` does."""
        with self._turn(job_id, name):
            self._source(job_id).unlink(missing_ok=True)
            self._note(job_id).unlink(missing_ok=True)

    def picture(self, found: Found, out: Path) -> None:
        """Write a small JPEG file of a sequence's first frame. Raises InputError."""
        raw = self._files.temporary(".picture")
        try:
            with self._slots:
                sequence_child.picture(
                    found,
                    raw,
                    root=self._settings.sequences_path,
                    limits=self._settings.limits,
                )
            out.parent.mkdir(parents=True, exist_ok=True)
            raw.replace(out)
        finally:
            raw.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what nobody opened again for a day."""
        self._files.sweep()
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            with suppress(OSError):  # BlockingIOError too: it is being read
                old = time.time() - path.stat().st_mtime > _KEPT_SECONDS
                if old and path.suffix in (".source", ".json"):
                    with locked(self._folder / f"{path.stem}.lock", wait=False):
                        path.unlink()

    # -- inside ----------------------------------------------------------------------------------

    def _work(
        self, held: ExitStack, job_id: str, progress: Progress, path: Path | None, stamp: str
    ) -> None:
        source = path or self._source(job_id)
        out = self._files.temporary(".zip")
        with held:
            try:
                with self._slots:
                    stamp = stamp or hash_file(source)
                    made = self._make(job_id, progress, source, out)
                    self._adopt(job_id, progress, made, out, stamp)
            except InputError as exc:
                self._fail(job_id, progress, str(exc))
            except Exception:
                self._fail(
                    job_id, progress, "The server failed while it read this: its log says more."
                )
                raise
            else:
                if path is None:
                    source.unlink(missing_ok=True)
                self._note(job_id).unlink(missing_ok=True)
            finally:
                out.unlink(missing_ok=True)
                with self._mutex:
                    self._running.pop(job_id, None)

    def _make(self, job_id: str, progress: Progress, source: Path, out: Path) -> Made:
        written = time.monotonic()
        child: list[subprocess.Popen[str]] = []

        def tell(done: int, total: int) -> None:
            nonlocal written
            state = replace(progress, done=done, total=total)
            with self._mutex:
                self._running[job_id] = state
            if time.monotonic() - written > 1:  # for other servers
                written = time.monotonic()
                self._write(job_id, state)

        def started(process: subprocess.Popen[str]) -> None:
            child.append(process)
            with self._mutex:
                self._children.add(process)
                if self._closed:
                    process.kill()

        try:
            return sequence_child.make(
                source,
                SequenceKind(progress.kind),
                out,
                root=self._settings.sequences_path,
                job_id=job_id,
                limits=self._settings.limits,
                tell=tell,
                started=started,
            )
        finally:
            with self._mutex:
                self._children.difference_update(child)

    def _fail(self, job_id: str, progress: Progress, sentence: str) -> None:
        with suppress(OSError):
            self._write(job_id, replace(progress, state="failed", error=sentence))

    def _source(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.source"

    def _note(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    @contextmanager
    def _turn(self, job_id: str, name: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self._folder / f"{job_id}.lock", wait=False):
                yield
        except BlockingIOError as exc:
            raise ConflictError(
                f'The sequence "{name}" is just being read: wait until that is done.'
            ) from exc

    def _write(self, job_id: str, progress: Progress) -> None:
        with replacing(self._note(job_id)) as file:
            file.write(json.dumps(asdict(progress)).encode())

    def _read(self, job_id: str) -> Progress | None:
        try:
            return Progress(**json.loads(self._note(job_id).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
