"""A layer at a glance: for each object what it has on each frame, and how doubtful that is."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from errors import InputError
from jobs.layer_views import LaneView, Presence

UNKNOWN = 255
"""The byte of a divergence that is not known."""

_MOST_CELLS = 1 << 24  # frames times lanes


class Lanes:
    """Collects what objects have on frames; one lane for each object, and for each label without.

    Frames are given by their index among the job's frames.
    """

    def __init__(self, count: int, colours: Mapping[str, str]) -> None:
        """`count`: of the job's frames. `colours`: `#rrggbb` by label."""
        self._count = count
        self._colours = colours
        self._lanes: dict[tuple[int, str], tuple[str, bytearray, bytearray]] = {}
        self._many = False  # more lanes than can be shown

    def mask(self, index: int, number: int, label: str, presence: Presence) -> None:
        """Note that an object (0: not known which) has a mask on a frame."""
        if (lane := self._lane(number, label)) is not None:
            lane[1][index] = presence

    def score(self, index: int, number: int, label: str, score: float) -> None:
        """Note the divergence of an object on a frame, in [0, 1]."""
        if (lane := self._lane(number, label)) is not None:
            lane[2][index] = round(max(0.0, min(score, 1.0)) * 254)

    def views(self) -> tuple[LaneView, ...]:
        """All lanes: objects by number, then what is of none, by label.

        Raises InputError where they are too many to be shown.
        """
        if self._many:
            raise InputError(
                f"A timeline of more than {len(self._lanes)} objects over {self._count} frames "
                "cannot be shown: cut the task into shorter jobs in CVAT."
            )
        order: Iterable[tuple[int, str]] = sorted(
            self._lanes, key=lambda key: (key[0] == 0, key[0], key[1])
        )
        return tuple(
            LaneView(
                object=key[0],
                label=self._lanes[key][0],
                color=self._colours.get(self._lanes[key][0], "#808080"),
                presence=base64.b64encode(self._lanes[key][1]).decode(),
                scores=base64.b64encode(self._lanes[key][2]).decode(),
            )
            for key in order
        )

    def _lane(self, number: int, label: str) -> tuple[str, bytearray, bytearray] | None:
        key = (number, "" if number else label)
        lane = self._lanes.get(key)
        if lane is None:
            if (len(self._lanes) + 1) * self._count > _MOST_CELLS:
                self._many = True
                return None
            lane = label, bytearray(self._count), bytearray([UNKNOWN]) * self._count
            self._lanes[key] = lane
        return lane
