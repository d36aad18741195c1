"""Short clips with exact masks for tests of trackers, and how masks are compared."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from demo.clip import make_clip
from tracker.engines import make
from tracker.protocol import Step

FAST = "builtin-fast"
SMALL = [make_clip(24, 256, 144).frame(i) for i in range(24)]
Frames = Sequence[tuple[np.ndarray, np.ndarray]]

WALKER, WALL, COIN, BAR = 1, 2, 3, 4
HIDDEN = range(6, 9)  # frames without the coin


def texture(height: int, width: int, seed: int, colour: Sequence[int] = (90, 90, 90)) -> np.ndarray:
    """Soft noise round a colour: uint8 (height, width, 3)."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 1.5) * 90
    return np.clip(soft + np.array(colour, dtype=np.float32), 0, 255).astype(np.uint8)


def scene(length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """One walks past in front of a wall, a coin is away for a while, a bar breaks in two."""
    skins = {
        WALKER: texture(160, 240, 1, (220, 60, 50)),
        WALL: texture(160, 240, 2, (60, 200, 70)),
        COIN: texture(160, 240, 3, (230, 210, 60)),
        BAR: texture(160, 240, 4, (60, 80, 220)),
    }
    ground = texture(160, 240, 0)
    frames = []
    for time in range(length):
        image, labels = ground.copy(), np.zeros((160, 240), dtype=np.uint16)
        apart = max(0, time - 2)
        places = [
            (WALL, (20, 95), (52, 16)),
            (WALKER, (34, 70 + 3 * time), (24, 24)),
            (BAR, (112, 50 - apart), (22, 30)),
            (BAR, (112, 80 + apart), (22, 30)),
        ]
        for number, (top, left), (height, width) in places:
            where = np.s_[top : top + height, left : left + width]
            image[where] = skins[number][:height, :width]
            labels[where] = number
        if time not in HIDDEN:
            disc = cv2.circle(np.zeros((160, 240), np.uint8), (200, 110 + time // 4), 15, 1, -1) > 0
            image[disc], labels[disc] = skins[COIN][disc], COIN
        frames.append((image, labels))
    return frames


def follow(frames: Frames, learned: bytes | None = None, engine: str = FAST) -> list[Step]:
    """The steps of an engine that starts from the exact masks of the first frame."""
    propagator = make(engine, learned=learned)
    propagator.start(*frames[0])
    return [propagator.step(image) for image, _ in frames[1:]]


def iou(found: np.ndarray, exact: np.ndarray, number: int) -> float:
    """Intersection over union of one object's masks."""
    a, b = found == number, exact == number
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def same(a: Step, b: Step) -> bool:
    """Whether two steps are equal to the bit."""
    return np.array_equal(a.labels, b.labels) and np.array_equal(a.confidence, b.confidence)


def blank(value: int = 0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A picture of one colour."""
    return np.full((*shape, 3), value, dtype=np.uint8)
