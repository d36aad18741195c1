"""The downloads folder: archives that appear there are taken up once they are whole.

The folder is polled, since notifications do not reach across network file systems and a "closed"
file may still grow; where they work they only make the next poll come at once. An archive is
touched when its size and time stood still between two polls and its end is there; then it is
copied, and looked at again only when it changes.
"""

from __future__ import annotations

import logging
import threading
import zipfile
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from errors import InputError, SettingsError, one_line
from jobs import store, tidy
from jobs.files import stamp_of
from jobs.models import Arrival
from jobs.service import Jobs
from jobs.updates import NAME, read_updates

POLL_SECONDS = 2.0
_ENDINGS = (".zip", ".xml")
_TAIL = 4096  # bytes at the end of an XML in which its last tag is looked for
_log = logging.getLogger(__name__)


class Watch:
    """Polls one downloads folder. `poll` may also be called directly."""

    def __init__(self, jobs: Jobs, interval: float = POLL_SECONDS) -> None:
        self._jobs = jobs
        self._folder = jobs.settings.downloads_path
        self._interval = interval
        self._seen: dict[str, tuple[int, int]] = {}  # size and time at the poll before
        self._rejected: dict[str, tuple[tuple[int, int], str]] = {}  # its stamp, and why
        self._shrinker = tidy.Shrinker(jobs.settings)
        self._hint = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Poll in a thread until `stop`.

        Raises SettingsError when the folder cannot be made or read.
        """
        try:
            self._names()
        except OSError as exc:
            raise SettingsError(
                f"DOWNLOADS_PATH={self._folder} cannot be used ({exc.strerror}): give a folder "
                "that can be made and read."
            ) from exc
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; an archive that is being taken up is finished first."""
        self._stop.set()
        self._hint.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def poll(self) -> tuple[str, ...]:
        """Look once; returns the ids of jobs whose archives were taken up.

        A file that cannot be taken up is a notice and stops no other.
        """
        try:
            names = self._names()
        except OSError as exc:
            sentence = f"The downloads folder {self._folder} cannot be read ({exc.strerror})."
            self._note([one_line(sentence)], set())
            return ()
        updates = read_updates(self._folder)
        notices = [*updates.notices]
        present = self._archives(names, notices)
        notices += [
            f"{NAME} lists {name}, which is not in the downloads folder."
            for name in updates.archives
            if name not in names
        ]
        known = self._known()
        taken: list[str] = []
        for name, stamp in present.items():
            if known.get(name) == stamp:
                continue
            rejected = self._rejected.get(name)
            if rejected is not None and rejected[0] == stamp:
                notices.append(rejected[1])
            elif self._seen.get(name) == stamp:
                taken += self._take_up(name, stamp, notices)
        self._seen = present
        self._note(notices, known.keys() - names)
        tidy.delete_archives(self._jobs.settings, self._jobs.database)
        self._shrinker.look()
        return tuple(taken)

    def _run(self) -> None:
        self._observe()
        try:
            while not self._stop.is_set():
                try:
                    self.poll()
                except Exception:  # noqa: BLE001 - the boundary: the watch outlives every error
                    _log.exception("The downloads folder could not be polled.")
                self._hint.wait(self._interval)
                if self._hint.is_set() and not self._stop.is_set():
                    # A copy causes many hints: at most five polls a second come of them.
                    self._stop.wait(0.2)
                self._hint.clear()
        finally:
            if self._observer is not None:
                self._observer.stop()
                self._observer.join()

    def _observe(self) -> None:
        """Ask the system for hints; without them polling goes on all the same."""
        observer = Observer()
        try:
            observer.schedule(_Hint(self._hint), str(self._folder))
            observer.start()
        except OSError as exc:  # such as no inotify watches left
            _log.info("No notifications for %s (%s): polling only.", self._folder, exc)
            return
        self._observer = observer

    def _names(self) -> set[str]:
        """What the folder holds that is named like an archive; the folder is made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return {
            path.name
            for path in self._folder.iterdir()
            if path.suffix.lower() in _ENDINGS and not path.name.startswith(".")
        }

    def _archives(self, names: set[str], notices: list[str]) -> dict[str, tuple[int, int]]:
        """Size and time of every archive in the folder, by name."""
        found = {}
        for name in sorted(names):
            path = self._folder / name
            try:
                name.encode()
                stamp = stamp_of(path)
                if path.is_file() and stamp[0]:
                    found[name] = stamp
            except FileNotFoundError:  # it went between the listing and now
                continue
            except UnicodeEncodeError:
                notices.append(_refusal(name, "its name is no UTF-8: give it another one"))
            except OSError as exc:
                notices.append(_refusal(name, f"it cannot be read: {exc.strerror}"))
        return found

    def _take_up(self, name: str, stamp: tuple[int, int], notices: list[str]) -> list[str]:
        path = self._folder / name
        try:
            job = self._jobs.receive_file(path, stamp) if is_whole(path) else None
            if job is None:  # not whole, or it changed while it was copied: later polls see to it
                return []
            with self._jobs.database.write() as session:
                session.merge(Arrival(name=name, size=stamp[0], mtime_ns=stamp[1]))
        except FileNotFoundError:
            return []
        except InputError as exc:
            self._rejected[name] = (stamp, str(exc))
        except (OperationalError, InterfaceError):  # the database is away: no fault of the file
            raise
        except OSError as exc:  # tried again at every poll: it may be mended without a new stamp
            notices.append(_refusal(name, f"it cannot be read: {exc.strerror}"))
            return []
        except Exception:  # noqa: BLE001 - the boundary: one odd file stops no other
            _log.exception("%r could not be taken up.", name)
            self._rejected[name] = (stamp, _refusal(name, "an error of ours, see the server's log"))
        else:
            return [job.id]
        notices.append(self._rejected[name][1])
        return []

    def _known(self) -> dict[str, tuple[int, int]]:
        with self._jobs.database.read() as session:
            rows = session.execute(select(Arrival.name, Arrival.size, Arrival.mtime_ns))
            return {row.name: (row.size, row.mtime_ns) for row in rows}

    def _note(self, notices: list[str], gone: set[str]) -> None:
        """Show this poll's notices and forget files that went; writes only what is new."""
        with self._jobs.database.read() as session:
            same = store.notices_of(session, "downloads") == store.fewer_notices(notices)
        if same and not gone:
            return
        with self._jobs.database.write() as session:
            store.set_notices(session, "downloads", notices)
            for name in gone:
                arrival = session.get(Arrival, name)
                if arrival is not None:
                    session.delete(arrival)


class _Hint(FileSystemEventHandler):
    """Turns every notification into "look now"."""

    def __init__(self, hint: threading.Event) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Our own reading must not keep us looking.
        if event.event_type not in {"opened", "closed_no_write"}:
            self._hint.set()


def _refusal(name: str, why: str) -> str:
    """The notice on one file."""
    return one_line(f'"{ascii(name)[1:-1][:120]}" in the downloads folder is left alone ({why}).')


def is_whole(path: Path) -> bool:
    """Whether an archive's end is there: a zip's central directory, an XML's last tag.

    A file that was only half copied has neither, however long it stood still. What is no zip at
    all, whatever its name, counts as whole: reading it will say what is wrong.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            if head.startswith(b"PK"):
                return zipfile.is_zipfile(file)
            if path.suffix.lower() == ".zip":
                return True
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            tail = file.read().replace(b"\0", b"").rstrip()
            return tail.endswith(b">") and b"</" in tail
    except FileNotFoundError:
        return False
