"""The segmenter that is always there: clicks, strokes, boxes and an earlier mask, on any processor.

Cues are weighed for every cell of a coarse grid (`builtin_cues`): geodesic distance from the marks
(Bai and Sapiro, "A Geodesic Framework for Fast Interactive Image and Video Segmentation and
Matting", ICCV 2007, section 2), likeness in colours and in frozen features, place, and what looks
like a thing at all. The image's border, or what lies round a box, speaks for the background. From
what was found a model of looks is learned. Borders are laid along the image's edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from errors import InputError
from tracker.power import one_thread
from tracker.propagators.builtin.edges import sharpened
from tracker.protocol import Image
from tracker.segmenters import builtin_cues as cues
from tracker.segmenters.builtin_looks import Field, Look, Window
from tracker.segmenters.prompts import Prompts, checked, checked_image
from tracker.segmenters.protocol import Answer, Mask, Points, Segmenter, Stroke

LOGITS = (128, 128)  # rows and columns of an answer's logits, whatever the image's shape
_SURE = 4.0  # logits of what a person said
_MARGIN = 0.4  # of a box's sides: what is seen around it
_PIXELS = 1_000_000  # of the picture that borders are found in
NEAR_PIXELS = 320 * 320  # of a box and what is round it, as the network sees them
_CORE = 0.25  # share of a box's cells that correct its marks' neighbourhood
_DOUBT = -0.5 * float(np.log(9))  # logits of a chance of one in ten, by which the score counts
_KERNEL = 0.15  # how far from its border an earlier mask is open, in roots of its area


class BuiltinSegmenter(Segmenter):
    """One image at a time; deterministic.

    Every point is honoured to the pixel: those on the object are in the mask, those beside it are
    not, and so is every pixel that a stroke went over, unless a point says otherwise.
    """

    def __init__(self) -> None:
        self._image: Image | None = None
        self._whole: Look | None = None
        self._edge: cues.Cues = {}
        self._near: Look | None = None

    def set_image(self, image: Image) -> None:
        """Look at `image`, RGB uint8 (H, W, 3); the cost does not grow with its size.

        Raises InputError where it is no such image.
        """
        image = checked_image(image)
        with one_thread():
            self._whole = Look.at(image, all_of(image))
            self._edge = cues.at_edge(self._whole)
        self._near = None
        self._image = image

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        """As `Segmenter.predict`; logits are float32 (128, 128), stretched over the whole image.

        Where only background is marked the mask is empty and its score 0. Raises InputError for
        prompts that do not fit the image, or that call one pixel both object and background;
        RuntimeError before `set_image`.
        """
        if self._image is None or self._whole is None:
            raise RuntimeError("predict before set_image")
        size = self._image.shape[0], self._image.shape[1]
        prompts = checked(size, LOGITS, points, labels, box, mask, strokes)
        marks = _marks(size, prompts)
        earlier = _earlier(size, prompts)
        with one_thread():
            look = self._look(self._image, prompts.box)
            odds = _decided(look, marks, earlier, prompts.box, self._edge)
        field = np.full(size, -_SURE, dtype=np.float32)
        field[look.window.part] = _fine(self._image, look, odds)
        found = field > 0
        if prompts.box is None and earlier is None:
            found = _touching(found, marks > 0)
        found[marks != 0] = marks[marks != 0] > 0
        # Logits agree with the mask, so that what was cut off does not come back with them.
        field = np.where(found, np.maximum(field, 0.1), np.minimum(field, -0.1))
        return Answer(
            mask=found,
            score=_score(field, found),
            logits=cv2.resize(field, LOGITS[::-1], interpolation=cv2.INTER_AREA).astype(np.float32),
        )

    def _look(self, image: Image, box: NDArray[np.float32] | None) -> Look:
        """At the whole image; with a box only round it, and so in more detail."""
        assert self._whole is not None
        if box is None:
            return self._whole
        window = round_box(box, image)
        if self._near is None or self._near.window != window:
            self._near = Look.at(image, window, NEAR_PIXELS)
        return self._near


def all_of(image: Image) -> Window:
    """The whole image as a window."""
    return Window(0, 0, image.shape[1], image.shape[0])


def round_box(box: NDArray[np.float32], image: Image) -> Window:
    """What is looked at for a box (x0, y0, x1, y1): the box and some of what lies round it."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box.tolist()
    aside, above = _MARGIN * (x1 - x0) + 4, _MARGIN * (y1 - y0) + 4
    return Window(
        max(0, int(x0 - aside)),
        max(0, int(y0 - above)),
        min(width, int(x1 + aside) + 1),
        min(height, int(y1 + above) + 1),
    )


def _marks(size: tuple[int, int], prompts: Prompts) -> NDArray[np.int8]:
    """What a person said of pixels, (H, W): 1 object, -1 background, 0 nothing; points win."""
    marks = np.zeros(size, dtype=np.int8)
    for stroke in prompts.strokes:
        path = np.round(stroke.path).astype(np.int32)
        brush = np.zeros(size, dtype=np.uint8)
        if len(path) > 1:
            cv2.polylines(brush, [path], isClosed=False, color=1, thickness=_thick(stroke.width))
        for x, y in path.tolist():
            cv2.circle(brush, (x, y), int(stroke.width / 2), 1, -1)
        marks[brush > 0] = 1 if stroke.inside else -1
    last = np.array(size[::-1]) - 1
    pixels = np.clip(np.floor(prompts.points + 0.5).astype(np.int64), 0, last)
    columns, rows = pixels.T
    said: dict[tuple[int, int], bool] = {}
    for x, y, inside in zip(columns.tolist(), rows.tolist(), prompts.inside.tolist(), strict=True):
        if said.setdefault((x, y), inside) != inside:
            raise InputError(
                f"The pixel ({x}, {y}) is marked as the object and as background: take one away."
            )
        marks[y, x] = 1 if inside else -1
    return marks


def _thick(width: float) -> int:
    return max(1, min(round(width), 32767))


def _earlier(size: tuple[int, int], prompts: Prompts) -> Mask | None:
    if prompts.logits is None:
        return prompts.mask
    return np.asarray(
        cv2.resize(prompts.logits, size[::-1], interpolation=cv2.INTER_LINEAR) > 0, dtype=np.bool_
    )


def _decided(
    look: Look,
    marks: NDArray[np.int8],
    earlier: Mask | None,
    box: NDArray[np.float32] | None,
    edge: cues.Cues,
) -> Field:
    """Log odds of the object for every cell, (h, w); `edge`: `at_edge` of the whole image."""
    own, other = cells(look, marks > 0), cells(look, marks < 0)
    other &= ~own  # where both fall into one cell the pixels themselves are set afterwards
    if earlier is not None:
        kept, left = _kept(look, earlier, own, other)
        own, other = own | kept, other | left
    if box is not None:
        odds = _boxed(look, own, other, box)
    elif earlier is None:
        odds = _clicked(look, own, other, edge)
    else:
        near, far = (look.distances(side, alike=True) for side in (own, other))
        odds = cues.log_odds(near, far)
    return np.where(own, _SURE, np.where(other, -_SURE, odds)).astype(np.float32)


def cells(look: Look, pixels: Mask) -> Mask:
    """The cells that hold one of the pixels (H, W) of the whole image, (h, w)."""
    part = pixels[look.window.part]
    rows, columns = np.nonzero(part)
    held = np.zeros(look.size, dtype=bool)
    high, wide = look.size
    held[rows * high // part.shape[0], columns * wide // part.shape[1]] = True
    return held


def _kept(look: Look, earlier: Mask, own: Mask, other: Mask) -> tuple[Mask, Mask]:
    """The cells of an earlier mask, and those beside it, that no mark puts in doubt.

    Open is what lies near the mask's border, and round a mark that contradicts it as far as the
    mark lies from that border, and half as far again.
    """
    part = earlier[look.window.part].astype(np.float32)
    share = cv2.resize(part, look.size[::-1], interpolation=cv2.INTER_AREA)
    inside = np.asarray(share >= 0.5)
    if not inside.any():
        inside = np.asarray(share == share.max()) & (share > 0)
    depth, beside = _depth(inside), _depth(~inside)
    band = 1 + _KERNEL * float(np.sqrt(np.count_nonzero(inside)))
    kept, left = depth > min(band, float(depth.max()) / 2), beside > band
    for marks, field, part_of in ((other & inside, depth, kept), (own & ~inside, beside, left)):
        for row, column in np.argwhere(marks)[::8] if marks.sum() > 64 else np.argwhere(marks):
            rows, columns = np.ogrid[: look.size[0], : look.size[1]]
            reach = 1.5 * field[row, column] + band
            part_of &= (rows - row) ** 2 + (columns - column) ** 2 > reach**2
    return kept & ~other, left & ~own


def _depth(within: Mask) -> Field:
    """How far each cell of `within` lies from the next cell that is not, in cells."""
    far = cv2.distanceTransform(within.astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.minimum(far, sum(within.shape)), np.float32)


def _clicked(look: Look, own: Mask, other: Mask, edge: cues.Cues) -> Field:
    """Log odds from marks alone, (h, w)."""
    if not own.any():
        return np.full(look.size, -_SURE, dtype=np.float32)
    found = cues.clicked(look, own, other, edge)
    chance = _chance(cues.summed(cues.CLICK, cues.FIRST, found))
    known = np.where(own, 1.0, np.where(other, 0.0, chance))
    found[cues.LEARNED] = cues.learned(look, known)
    return np.clip(cues.summed(cues.CLICK, cues.THEN, found), -_SURE, _SURE)


def _boxed(look: Look, own: Mask, other: Mask, box: NDArray[np.float32]) -> Field:
    """Log odds within a box, (h, w), corrected near marks."""
    across, down = in_box(look, box)
    within = (across <= 1) & (down <= 1)
    within[np.unravel_index(int(np.argmin(np.maximum(across, down))), look.size)] = True
    within = (within | own) & ~other
    if not within.any():
        return np.full(look.size, -_SURE, dtype=np.float32)
    found = cues.boxed(look, within, across, down)
    chance = np.where(within, _chance(cues.summed(cues.BOX, cues.FIRST, found)), 0.0)
    found[cues.LEARNED] = cues.learned(look, np.where(own, 1.0, chance))
    odds = cues.summed(cues.BOX, cues.THEN, found)
    if own.any() or other.any():
        core = own | (within & (odds >= np.quantile(odds[within], 1 - _CORE)))
        far = np.minimum(look.distances(~within), look.distances(other, alike=True))
        odds = np.asarray(odds + cues.log_odds(look.distances(core), far) / 2, np.float32)
    return np.where(within, np.clip(odds, -_SURE, _SURE), -_SURE).astype(np.float32)


def in_box(look: Look, box: NDArray[np.float32]) -> tuple[Field, Field]:
    """How far each cell lies from the box's middle, in halves of its sides, (h, w) each."""
    high, wide = look.size
    window = look.window
    rows = (np.arange(high)[:, None] + 0.5) * window.height / high + window.top - 0.5
    columns = (np.arange(wide)[None] + 0.5) * window.width / wide + window.left - 0.5
    x0, y0, x1, y1 = box.tolist()
    across = np.abs(columns - (x0 + x1) / 2) / (x1 - x0) * 2
    down = np.abs(rows - (y0 + y1) / 2) / (y1 - y0) * 2
    shape = look.size
    return (
        np.broadcast_to(across, shape).astype(np.float32),
        np.broadcast_to(down, shape).astype(np.float32),
    )


def _chance(odds: Field) -> Field:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -20, 20))), dtype=np.float32)


def _fine(image: Image, look: Look, odds: Field) -> Field:
    """`odds` (h, w) of cells for the pixels of the look's window, along the image's edges."""
    part = np.ascontiguousarray(image[look.window.part])
    size = look.window.width, look.window.height
    scale = min(1.0, (_PIXELS / (size[0] * size[1])) ** 0.5)
    if scale < 1:
        less = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        part = _shrunk(part, less)
    fine = sharpened(2 * odds, _shrunk(part, look.size[::-1]), part) / np.float32(2)
    if scale < 1:
        return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(fine, dtype=np.float32)


def _shrunk(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _touching(found: Mask, said: Mask) -> Mask:
    """The connected parts of `found` that a person pointed at."""
    count, parts = cv2.connectedComponents(found.astype(np.uint8), connectivity=8)
    meant = np.zeros(count, dtype=bool)
    meant[parts[said]] = True
    meant[0] = False
    return np.asarray(meant[parts], dtype=np.bool_)


def _score(field: Field, found: Mask) -> float:
    """The expected IoU of `found` if every pixel's odds were what they say."""
    if not found.any():
        return 0.0
    # Far from the object small chances would add up over the whole image.
    counted = found | (field > _DOUBT)
    chance = 1 / (1 + np.exp(-2 * field[counted]))
    mine = found[counted]
    inside = float(chance[mine].sum(dtype=np.float64))
    beside = float(chance[~mine].sum(dtype=np.float64))
    return float(np.clip(inside / (np.count_nonzero(found) + beside), 0, 1))
