"""Learning the objects of a job from its key frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracker.engines import Power, Watcher
from tracker.power import cores, device_of, working
from tracker.propagators.builtin import model as models
from tracker.propagators.builtin.backbone import Features
from tracker.propagators.builtin.lessons import PRIORS, Lesson, Lessons
from tracker.propagators.builtin.model import Learned, Model
from tracker.propagators.builtin.optimiser import Optimiser
from tracker.propagators.builtin.recipe import Recipe
from tracker.protocol import Example

_FIRST = 24  # lessons before the first step
_ALL_THERE = 0.4  # share of the steps after which all lessons are made
_MORE_PER_FRAME = 0.25  # steps for each further key frame, in parts of those for the first
_MOST = 2.5  # times the steps for one key frame
_WARM = 0.5  # steps when going on from what was learned earlier, in parts of a fresh start's
_WARM_UP = 10  # steps
_DICE, _COARSE = 0.5, 0.3  # weights of these losses beside cross entropy


def learn(
    engine: str,
    recipe: Recipe,
    examples: Sequence[Example],
    power: Power,
    seed: int,
    earlier: bytes | None,
    watcher: Watcher,
) -> bytes | None:
    """See `tracker.engines.learn`."""
    threads = power.threads or cores()
    # Lessons are made beside the first steps: each of the two gets half of the threads.
    with working(Power(device=power.device, threads=max(1, threads // 2))):
        return _learn(engine, recipe, examples, device_of(power), seed, earlier, watcher, threads)


def _learn(
    engine: str,
    recipe: Recipe,
    examples: Sequence[Example],
    device: str,
    seed: int,
    earlier: bytes | None,
    watcher: Watcher,
    threads: int,
) -> bytes | None:
    dreams, choices = (
        np.random.default_rng(source) for source in np.random.SeedSequence(seed).spawn(2)
    )
    known = models.from_bytes(earlier) if earlier else None
    warm = known is not None and known.engine == engine
    if known is not None and warm:
        model = known.model
    else:
        model = Model()
        model.begin(seed)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = round(recipe.steps * min(_MOST, 1 + _MORE_PER_FRAME * (len(examples) - 1)))
    if warm:
        steps = round(steps * _WARM)
    with closing(Lessons(examples, recipe, dreams, device, beside=threads > 1)) as lessons:
        for count in range(1, _FIRST + 1):
            if watcher.should_stop():
                return None
            first = lessons.first(count)
        model.measure([lesson.features for lesson in first])
        memory = lessons.scale(model)
        if not _train(model, lessons, recipe, steps, choices, watcher, threads):
            return None
    # The more key frames the decoder has seen, the less it needs the memory's own word; where
    # object and surroundings look alike, that word is worth nothing.
    trust = memory.contrast() / len(examples)
    return models.to_bytes(Learned(model, memory, trust, engine))


def _train(
    model: Model,
    lessons: Lessons,
    recipe: Recipe,
    steps: int,
    random: np.random.Generator,
    watcher: Watcher,
    threads: int,
) -> bool:
    """False when told to stop."""
    model.train()
    optimiser = Optimiser(model.trained(), recipe.decay)
    for step in range(steps):
        if watcher.should_stop():
            return False
        there = round(_FIRST + (lessons.total - _FIRST) * min(1.0, step / (_ALL_THERE * steps)))
        known = lessons.first(there)
        if there == lessons.total and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        chosen = random.choice(len(known), min(recipe.batch, len(known)), replace=False)
        falling = 0.5 * (1 + np.cos(np.pi * step / steps))
        batch = [known[int(index)] for index in chosen]
        _loss(model, batch, recipe.priors, random).backward()  # type: ignore[no-untyped-call]
        optimiser.step(recipe.rate * min(falling, (step + 1) / _WARM_UP))
        watcher.on_progress((step + 1) / steps)
    return True


def _loss(
    model: Model, lessons: Sequence[Lesson], each: int, random: np.random.Generator
) -> Tensor:
    """Cross entropy, Dice, and cross entropy of the coarse level, on `each` priors per lesson."""
    by_level = zip(*(lesson.features for lesson in lessons), strict=True)
    features = Features(*(torch.cat(maps).float() for maps in by_level))
    shared = model.shared(features, torch.cat([lesson.image for lesson in lessons]))
    picked = [it.priors[torch.from_numpy(random.permutation(PRIORS)[:each])] for it in lessons]
    mask = torch.cat([lesson.mask for lesson in lessons]).float().repeat_interleave(each, 0)
    recall = torch.cat([lesson.recall for lesson in lessons]).repeat_interleave(each, 0)
    fine, coarse = model.logits(shared, torch.cat(picked).float() / 255, recall)
    chance = fine.sigmoid()
    both, either = (chance * mask).sum((1, 2, 3)), (chance + mask).sum((1, 2, 3))
    dice = (1 - (2 * both + 1) / (either + 1)).mean()
    entropy = functional.binary_cross_entropy_with_logits(fine, mask)
    shrunk = functional.adaptive_avg_pool2d(mask, (coarse.shape[-2], coarse.shape[-1]))
    rough = functional.binary_cross_entropy_with_logits(coarse, shrunk)
    return entropy + _DICE * dice + _COARSE * rough
