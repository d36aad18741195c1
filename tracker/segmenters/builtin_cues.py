"""What speaks for a cell being the object, cue by cue, and how much each cue counts.

Every cue is a field over the cells of a `Look`. Their weighted sum is the log odds of the object.
Weights were fitted by `python -m bench.segment_weights`, logistic regression on human masks; they
are few, so that they hold for other pictures too. First come cues that need prompts alone; from
what those find, looks are learned by ridge regression, which is one more cue.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.power import product
from tracker.segmenters.builtin_classes import class_weights
from tracker.segmenters.builtin_looks import LEVELS, Field, Look
from tracker.segmenters.protocol import Mask

Cues = dict[str, Field]

LEARNED = "learned"  # the cue of learned looks
CONSTANT = "constant"
FIRST, THEN = "first", "then"  # weights without and with it
CLICK, BOX = "click", "box"
_SURE = 4.0  # the most that distances say
_NEAR = 0.01  # distance, in looks, that is as good as none
_FAR = 1e6
_MANY, _FEW = 96, 24  # seeds that are asked for looks: of a border, of marks
_CLASSES = 20  # that are more in a box than round it
_RIDGE = 0.08
_EVERY = 2  # rows and columns of cells that looks are learned from


def clicked(look: Look, own: Mask, other: Mask, edge: Cues) -> Cues:
    """Cues from marks: `own` cells, at least one, against `other`, both bool (h, w).

    `edge`: `at_edge` of the look; the image's border speaks for the background.
    """
    near = look.distances(own, alike=True)
    far = np.minimum(edge["way"], look.distances(other, alike=True))
    unit = float(np.sqrt(look.size[0] * look.size[1]))
    space = _away(own) / unit
    cues = {
        "odds": log_odds(near, far),
        "way": np.log(near + 0.05),
        "space": space,
        "log space": np.log(space + 0.03),
        "objectness": objectness(look),
    }
    opposed = bool(other.any())
    if opposed:
        cues["background marked"] = np.ones(look.size, dtype=np.float32)
        cues["space to background"] = np.log((_away(other) / unit + 0.02) / (space + 0.02))
    for level in LEVELS:
        unlike = look.unlike(level, own, _FEW)
        cues[f"{level} unlike"] = unlike
        cues[f"{level} unlike the edge"] = edge[level] - unlike
        if opposed:
            cues[f"{level} unlike background"] = look.unlike(level, other, _FEW) - unlike
    return cues


def at_edge(look: Look) -> Cues:
    """How far all cells are from the image's border: by `way`, and in looks by `LEVELS`."""
    edge = np.zeros(look.size, dtype=bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    looks = {level: look.unlike(level, edge, _MANY) for level in LEVELS}
    return {"way": look.distances(edge), **looks}


def boxed(look: Look, within: Mask, across: Field, down: Field) -> Cues:
    """Cues from a box: the cells `within`, bool (h, w), at least one, against those round it.

    `across`, `down`: distance from its middle in half sides, (h, w).
    """
    off = np.hypot(across, down)
    beside = ~within
    cues = {
        "off": off,
        "across": across**2,
        "down": down**2,
        "to its border": np.minimum(1 - across, 1 - down),
        "objectness": objectness(look),
    }
    if beside.any():
        far = np.minimum(look.distances(beside), 50)
        cues["way"] = np.log(far + 0.05)
        order = np.searchsorted(np.sort(far[within]), far)
        cues["rank of way"] = (order / np.count_nonzero(within)).astype(np.float32)
        cues["its classes"] = _of_its_classes(look, within * np.clip(1 - off, 0, 1), beside)
        for level in LEVELS:
            cues[f"{level} unlike"] = look.unlike(level, beside, _MANY)
    return cues


def summed(kind: str, stage: str, cues: Cues) -> Field:
    """The log odds that `cues` amount to with the weights of `kind` (`CLICK`, `BOX`), (h, w).

    `stage`: `FIRST`, or `THEN` where `LEARNED` is among the cues.
    """
    weights = _weights()[kind][stage]
    total = np.float32(weights[CONSTANT])
    return np.asarray(
        total + sum(np.float32(weights.get(name, 0.0)) * cue for name, cue in cues.items()),
        dtype=np.float32,
    )


def learned(look: Look, chance: NDArray[np.floating]) -> Field:
    """What looks say, about -1 to 1, (h, w), learned from the object's `chance` 0 .. 1, (h, w).

    Both sides have equal say; what is not decided has little.
    """
    planes = look.looks[::_EVERY, ::_EVERY]
    flat = planes.reshape(-1, planes.shape[2])
    flat = np.concatenate([flat, np.ones_like(flat[:, :1])], axis=1)
    some = chance[::_EVERY, ::_EVERY].ravel().astype(np.float32)
    own, other = some**2, (1 - some) ** 2
    own, other = (side / np.float32(max(float(side.sum()), 1e-6)) for side in (own, other))
    square = product((flat * (own + other)[:, None]).T, flat)
    square += _RIDGE * np.eye(len(square), dtype=np.float32)
    slopes = np.linalg.solve(square, flat.T @ (own - other))
    return np.asarray(look.looks @ slopes[:-1] + slopes[-1], dtype=np.float32)


def log_odds(own: Field, other: Field) -> Field:
    """Log odds by distance (h, w): positive where `own` is less than `other`."""
    ratio = np.log((np.minimum(other, _FAR) + _NEAR) / (np.minimum(own, _FAR) + _NEAR))
    return np.clip(ratio, -_SURE, _SURE).astype(np.float32)


def objectness(look: Look) -> Field:
    """How much there is for the network to tell classes by, (h, w), mean 0 and spread 1."""
    return _even(look.spread(look.deep.mean(axis=2)))


def _of_its_classes(look: Look, inside: NDArray[np.floating], beside: Mask) -> Field:
    """How much each cell speaks for the classes that are more inside than beside, (h, w)."""
    size = look.deep.shape[1::-1]
    means = []
    for weight in (inside, beside):
        small = cv2.resize(weight.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small = small.reshape(look.deep.shape[:2]) + 1e-6
        means.append((look.deep * (small / small.sum())[..., None]).sum(axis=(0, 1)))
    weights = class_weights()
    gain = weights @ (means[0] - means[1])
    telling = weights[np.argsort(-gain, kind="stable")[:_CLASSES]].mean(axis=0)
    return _even(look.spread(look.deep @ telling))


def _even(field: Field) -> Field:
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=np.float32)


def _away(cells: Mask) -> Field:
    """How far each cell lies from the nearest of `cells`, at least one, in cells."""
    return np.asarray(cv2.distanceTransform((~cells).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


@lru_cache(maxsize=1)
def _weights() -> dict[str, dict[str, dict[str, float]]]:
    text = files("tracker.segmenters").joinpath("builtin_weights.json").read_text("utf-8")
    found: dict[str, dict[str, dict[str, float]]] = json.loads(text)
    return found
