"""What keeps a worker from working that is no fault of its span: a full disk, an absent share."""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path

from jobs import room
from jobs.files import JobFiles

FAULTS = frozenset({errno.EIO, errno.ESTALE})
"""Of a disk or a share; one file may have them for ever."""

_LONGEST_PAUSE = 30.0  # seconds between two tries where attempt after attempt meets a full disk
_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
)  # may pass, wherever else there is room
_log = logging.getLogger(__name__)


class Hindrance:
    """Whether a worker's loop must wait, and for what. `sentence`: why, for people; else empty."""

    def __init__(self, data_dir: Path, worker: str, tick: float) -> None:
        """`worker`: its name. `tick`: seconds of the shortest pause between two tries."""
        self.sentence = ""
        self._data_dir = data_dir
        self._worker = worker
        self._tick = tick
        self._setbacks = 0  # attempts in a row that met a full or failing disk
        self._rest_until = 0.0  # by the monotonic clock

    def holds(self) -> bool:
        """Whether this worker cannot work just now; `sentence` says why."""
        found = self._find(probe=self._setbacks > 0)
        if found:
            sentence = _waits(found)
            if not self.sentence:
                _log.warning("%s %s.", self._worker, sentence)
            self.sentence = sentence
            return True
        if time.monotonic() < self._rest_until:
            return True
        if self.sentence:
            _log.info("%s goes on.", self._worker)
            self.sentence = ""
        return False

    def met(self, error: OSError) -> bool:
        """Whether `error` says of the disk, not of the span, that it cannot go on."""
        found = self._find(probe=True)
        if not found and error.errno not in _DISK:
            return False
        self.sentence = _waits(found or f"{error.strerror}, {error.filename or 'while writing'}")
        self._setbacks += 1
        pause = min(_LONGEST_PAUSE, self._tick * 2**self._setbacks)
        self._rest_until = time.monotonic() + pause
        _log.warning("%s %s.", self._worker, self.sentence)
        return True

    def passed(self) -> None:
        """An attempt went well."""
        self._setbacks = 0

    def _find(self, *, probe: bool) -> str:
        # Who asks thoroughly has claimed a span, so that there are jobs.
        if probe and not JobFiles(self._data_dir).job("any").parent.is_dir():
            return f"DATA_DIR {self._data_dir} holds no jobs: is the share mounted?"
        return room.trouble(self._data_dir, probe=probe)


def _waits(reason: str) -> str:
    return f"waits: {reason}; make room or mend it, and the work goes on by itself"
