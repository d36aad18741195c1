"""Which of several objects a colour speaks for, by the colours that they have in the key frame.

The features that the network sees tell a wheel from a leaf, but hardly a red ball from a blue one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tracker.propagators.flow.colours import cells, chances
from tracker.protocol import Image, LabelMap

_RARE = 1e-4  # probability under which a colour says nothing
_MOST = 3.0  # natural logarithm of the largest odds

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hues:
    """By object number: natural log of the odds of it against the others' mean, by colour cell."""

    _odds: dict[int, Field] = field(default_factory=dict)

    @staticmethod
    def of_objects(image: Image, labels: LabelMap) -> Hues:
        """The objects of a key frame; one that is alone needs no telling apart."""
        own = {}
        for number, place in enumerate(find_objects(labels), start=1):
            if place is not None:
                own[number] = chances(cells(image[place])[labels[place] == number]) + _RARE
        if len(own) < 2:
            return Hues()
        everything = np.sum(list(own.values()), axis=0)
        odds = {n: np.log(one * (len(own) - 1) / (everything - one)) for n, one in own.items()}
        return Hues({n: np.clip(o, -_MOST, _MOST).astype(np.float32) for n, o in odds.items()})

    def odds(self, number: int, image: Image) -> Field | float:
        """(H, W): what the colours of `image` (H, W, 3) say for object `number`; 0: nothing."""
        table = self._odds.get(number)
        return 0.0 if table is None else table[cells(image)]
