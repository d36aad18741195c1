"""The stream of training material of a job: all its objects on all its key frames in turn.

Lessons are made in a thread of their own while the decoder already learns from the first ones. How
many are there at which step follows from the step alone, so that the result does not depend on who
is faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracker.propagators.builtin.backbone import Backbone, Features, backbone
from tracker.propagators.builtin.model import Model
from tracker.propagators.builtin.priors import HEAVY, LIGHT, priors
from tracker.propagators.builtin.recall import (
    CELL,
    Cells,
    Memory,
    cells,
    described,
    identities,
    joined,
    objects,
    unit,
)
from tracker.propagators.builtin.recipe import Recipe
from tracker.propagators.builtin.regions import regions
from tracker.propagators.builtin.samples import Scene, sample, scene
from tracker.propagators.builtin.window import boxes_of
from tracker.protocol import Example

PRIORS = 4  # that are made of each sample
_MOST = 360  # lessons; each takes 1.5 MB
_SCENES = 48  # that are kept at a time; each takes 3 MB
_REMEMBERED = 16  # key frames
_APART = 0.7  # how often a key frame is looked up among the others only, as later frames will be
_FORGETFUL = 0.5  # how often something that was seen is forgotten
_FORGOTTEN = (0.02, 0.2)  # part of the cells: those that look alike
_SHARPNESS = (10.0, 30.0)  # later frames look less like the key frame than lessons do
_MORE_PER_FRAME = 0.35  # lessons for each further key frame, in parts of those for the first


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A sample as training takes it: half precision, mask (1, 1, S/2, S/2).

    `features`: scaled from the moment on when `Lessons.scale` was called.
    """

    features: Features
    image: Tensor  # uint8 (1, 3, S, S)
    mask: Tensor
    priors: Tensor  # uint8 (PRIORS, 2, S/2, S/2)
    source: Source
    recall: Tensor  # (1, 2, S/16, S/16)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a lesson comes from: which example, which object of it (0: none).

    `cells`: the example's, where it shows several objects and as long as they are needed.
    """

    index: int
    number: int
    cells: Cells | None


class Lessons:
    """Lessons as they come; to be closed."""

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        random: np.random.Generator,
        device: str,
        *,
        beside: bool,
    ) -> None:
        """`beside`: whether lessons are made in a second thread."""
        self.total = min(_MOST, round(recipe.samples * (1 + _MORE_PER_FRAME * (len(examples) - 1))))
        self._examples, self._recipe, self._device = examples, recipe, device
        self._net = backbone(device)
        self._choices = random.spawn(1)[0]
        self._remembered: dict[int, Memory] = {}
        self._made: list[Lesson] = []
        self._model: Model | None = None
        self._source = _stream(examples, recipe, random, device, self.total)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="lessons") if beside else None
        self._next: Future[Lesson] | None = None

    def first(self, count: int) -> Sequence[Lesson]:
        """The first `count` lessons; waits until they are made."""
        while len(self._made) < min(count, self.total):
            if self._pool is None:
                self._made.append(self._scaled(next(self._source)))
                continue
            if self._next is None:
                self._next = self._pool.submit(next, self._source)
            self._made.append(self._scaled(self._next.result()))
            # The next one is begun at once; it is made while training goes on.
            more = len(self._made) < self.total
            self._next = self._pool.submit(next, self._source) if more else None
        return self._made[:count]

    def scale(self, model: Model) -> Memory:
        """Bring the features of all lessons, those to come included, to the scale of `model`.

        Returns what is remembered of the key frames.
        """
        self._model = model
        if self._next is not None:
            self._next.result()  # key frames are read by one thread at a time
        self._remembered = self._remember(model)
        self._made = [self._scaled(lesson) for lesson in self._made]
        return joined(list(self._remembered.values()), self._device)

    def _remember(self, model: Model) -> dict[int, Memory]:
        count = len(self._examples)
        chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(_REMEMBERED, count))})
        found = {}
        for index in chosen:
            own = self._cells(self._examples[index])
            if own is not None:
                most = max(1, self._recipe.cells // len(chosen))
                found[index] = objects(own, model.scale(), most, self._choices)
        return found

    def _cells(self, example: Example) -> Cells | None:
        return cells(self._net, example.image, example.labels, self._recipe.pixels, self._device)

    def _recall(self, lesson: Lesson, scale: Sequence[Tensor]) -> Tensor:
        """What the memory says of a lesson, as dimly as it will remember later frames."""
        source, random = lesson.source, self._choices
        others = [each for index, each in self._remembered.items() if index != source.index]
        apart = bool(others) and random.random() < _APART
        memory = joined(others if apart else list(self._remembered.values()), self._device)
        if random.random() < _FORGETFUL:
            memory = _forgetting(memory, random)
        looks = unit(described(lesson.features)[0].float(), scale)
        sharpness = random.uniform(*_SHARPNESS)
        own = everything = memory.read(looks, sharpness)[:, 0]
        if source.cells is not None and source.number:
            known = identities(source.cells, scale)
            shares = known.read(looks, sharpness)
            column = source.cells.numbers.index(source.number)
            own = everything * shares[:, column] / shares.sum(1).clamp(min=1e-6)
        side = lesson.image.shape[-1] // CELL
        return torch.stack([own, everything - own]).view(1, 2, side, side)

    def _scaled(self, lesson: Lesson) -> Lesson:
        if self._model is None:
            return lesson
        with torch.no_grad():
            recall = self._recall(lesson, self._model.scale())
            features = self._model.scaled(lesson.features)
        return replace(
            lesson,
            features=Features(*(maps.half() for maps in features)),
            recall=recall,
            source=replace(lesson.source, cells=None),  # they have told what they know
        )

    def close(self) -> None:
        """End the thread that makes lessons."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _stream(
    examples: Sequence[Example],
    recipe: Recipe,
    random: np.random.Generator,
    device: str,
    total: int,
) -> Iterator[Lesson]:
    torch.set_flush_denormal(True)
    net = backbone(device)
    wear = LIGHT if len(examples) == 1 else HEAVY
    for place, source in _scenes(examples, recipe, random, total, net, device):
        made = sample(place, recipe.side, random)
        image = torch.from_numpy(made.image).permute(2, 0, 1)[None].to(device)
        mask = torch.from_numpy(made.mask)[None, None].to(device).float() / 255
        yield Lesson(
            Features(*(maps.half() for maps in net(image.float()))),
            image,
            functional.avg_pool2d(mask, 2).half(),
            torch.from_numpy(priors(made, PRIORS, random, wear)).to(device),
            source,
            torch.empty(0),
        )


def _scenes(
    examples: Sequence[Example],
    recipe: Recipe,
    random: np.random.Generator,
    total: int,
    net: Backbone,
    device: str,
) -> Iterator[tuple[Scene, Source]]:
    """`total` scenes: few are visited again and again, many once, one after the other."""
    order = [int(index) for index in random.permutation(len(examples))]
    kept: list[tuple[Scene, Source]] = []
    count = 0
    for position, index in enumerate(order):
        example = examples[index]
        looks = list(_looks(example, recipe.pixels, random))
        several = len(looks) > 1  # only then is there a question which one is which
        own = None
        if several:
            own = cells(net, example.image, example.labels, recipe.pixels, device)
        for number, pixels in looks:
            place = scene(example, number, pixels, random), Source(index, number, own)
            if len(kept) < _SCENES:
                kept.append(place)
            else:
                kept[int(random.integers(0, _SCENES))] = place
            count += 1
            yield place
            if count == total:
                return
        # Lessons for all key frames before the first repetition, unless they are very many.
        ahead = (total * (position + 1)) // len(order) - count
        if len(order) > _SCENES and ahead > 0:
            for _ in range(ahead):
                count += 1
                yield kept[int(random.integers(0, len(kept)))]
    while count < total:
        for index in random.permutation(len(kept)):
            count += 1
            yield kept[int(index)]
            if count == total:
                return


def _looks(
    example: Example, pixels: int, random: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """Objects of a key frame, each with the pixels in which it will be seen; 0 where none is."""
    height, width = example.labels.shape
    looks = {
        number: part * region.window.scale**2
        for region in regions(boxes_of(example.labels), width, height, pixels)
        for number, part in region.areas.items()
    }
    for number in random.permutation(list(looks) or [0]):
        yield int(number), looks.get(int(number), pixels)


def _forgetting(memory: Memory, random: np.random.Generator) -> Memory:
    """`memory` without one of its cells and those that look most like it."""
    total = len(memory.keys)
    like = memory.keys @ memory.keys[int(random.integers(0, total))]
    keep = total - max(1, round(total * random.uniform(*_FORGOTTEN)))
    chosen = like.topk(max(1, keep), largest=False).indices
    return Memory(memory.keys[chosen], memory.values[chosen])
