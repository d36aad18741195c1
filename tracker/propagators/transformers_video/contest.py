"""Objects compete for every pixel; how sure the model is of what each one got."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tracker.protocol import LabelMap

Followed = tuple[int, Tensor, float]
"""An object's number, its logits at the model's resolution, its score (logit)."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """`labels`: label map (H, W). `best`: float32 (H, W), logits of each pixel's owner, 0 where
    nobody claims it. `confidence`: float32 (N,), as `tracker.protocol.Step` has it.
    """

    labels: LabelMap
    best: NDArray[np.float32]
    confidence: NDArray[np.float32]


def decide(
    objects: Iterable[Followed],
    upscale: Callable[[Tensor], Tensor],
    size: tuple[int, int],
    most: int,
) -> Decision:
    """Every pixel goes to the object with the highest logit, to nobody where none is above 0.

    `upscale` turns an object's logits into those of the frame, (H, W), one object at a time, so
    that memory does not grow with their number. `most`: the largest object number. Confidence is
    the chance that the object is there, times the expected IoU of its pixels under its logits.
    """
    labels: Tensor | None = None
    best: Tensor | None = None
    mass, peak, chance = (np.zeros(most + 1) for _ in range(3))
    chance_below = np.zeros(most + 1, np.bool_)
    for number, logits, score in objects:
        grown = upscale(logits)
        if labels is None or best is None:
            best = torch.zeros_like(grown)
            labels = torch.zeros_like(grown, dtype=torch.int32)
        wins = grown > best
        best = torch.where(wins, grown, best)
        labels = torch.where(wins, number, labels)
        mass[number] = float(torch.sigmoid(grown).sum(dtype=torch.float64))
        peak[number] = float(torch.sigmoid(grown.max()))
        chance[number] = _sigmoid(score)
        chance_below[number] = score <= 0
    if labels is None or best is None:
        return Decision(np.zeros(size, np.uint16), np.zeros(size, np.float32), np.ones(most, "f4"))
    owner = labels.cpu().numpy()
    strength = best.cpu().numpy()
    flat = owner.ravel()
    area = np.bincount(flat, minlength=most + 1)
    inside = np.bincount(flat, 1 / (1 + np.exp(-strength.ravel().astype("f8"))), most + 1)
    overlap = inside / np.maximum(area + mass - inside, 1e-9)
    # Where the score says that it is absent the logits say nothing of how sure that is.
    doubt = chance * np.where(chance_below, 1, peak)
    sure = np.where(area > 0, chance * overlap, 1 - doubt)
    return Decision(owner.astype(np.uint16), strength, np.clip(sure[1:], 0, 1).astype(np.float32))


def _sigmoid(logit: float) -> float:
    return float(torch.sigmoid(torch.tensor(logit, dtype=torch.float64)))
