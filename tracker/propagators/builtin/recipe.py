"""What the three engines of this family differ in."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Amounts of work; the figures that chose them are in docs/quality.md.

    `pixels`: of the network's input that shows a single object. `side`: of a training sample.
    `samples`, `steps`: of training on one key frame. `batch`: samples in a step, `priors`: of each.
    `cells`: remembered of all key frames. `rate`, `decay`: learning rate and weight decay.
    `motion`: pixels of the picture in which motion is searched. `mirrored`: whether every look is
    repeated in the mirror and averaged.
    """

    pixels: int
    side: int
    samples: int
    steps: int
    batch: int = 2
    priors: int = 1
    cells: int = 2048
    rate: float = 3e-3
    decay: float = 1e-3
    motion: int = 230_000
    mirrored: bool = False


RECIPES = MappingProxyType(
    {
        "builtin": Recipe(pixels=190_000, side=224, samples=200, steps=480),
        "builtin-fast": Recipe(pixels=60_000, side=192, samples=80, steps=300, motion=60_000),
        "builtin-best": Recipe(
            pixels=300_000, side=256, samples=360, steps=1200, motion=410_000, mirrored=True
        ),
    }
)
