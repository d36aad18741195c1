"""What was made of objects and left out, since masks that stay cover it: told, never silent."""

from __future__ import annotations

from collections.abc import Iterator

from errors import one_line
from jobs.frames_text import format_few

MOST = 8  # objects that are told of
DOUBT = 0.5  # expected 1 - IoU: what is covered may be behind what stays, or on top of it


class Covered:
    """Collects objects and frames while they pass by."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, list[int]]] = {}

    def add(self, frame: int, number: int, label: str) -> None:
        """Note that an object has no mask on a frame, though one was made."""
        self._found.setdefault(number, (label, []))[1].append(frame)

    def sentences(self, step: int) -> Iterator[str]:
        """A sentence for each object, for people. `step`: of the job's frames."""
        for number, (label, frames) in sorted(self._found.items())[:MOST]:
            on = f"frame{'' if len(frames) == 1 else 's'} {format_few(frames, step)}"
            yield (
                f'Object {number} ("{one_line(label, 60)}") has no mask on {on}, since masks that '
                "stay cover what was made of it: if it lies on top there, give it a higher z-order "
                "where you draw it."
            )
        if len(self._found) > MOST:
            yield f"So it is with {len(self._found) - MOST:,} further objects."
