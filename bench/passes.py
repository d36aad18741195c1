"""Single passes over clips, kept on disk, for `bench.divergence` and `bench.annotate`.

A pass of an engine that does not learn depends on the key frame that it starts from alone, so it is
computed once for all sets of key frames; one of an engine that learns depends on all of them, and
on what the runs before it learned, for a re-segmentation goes on from that.
The propagators are those of the product, and so are fusion and scores; nothing is written as an
export in between, which would cost more than `flow` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from bench.clips import ONE, Footage
from bench.whole_flow import Matched, WholeFlow
from tracker import engines
from tracker.protocol import Example, Image, LabelMap, Propagator, Step

Rounds = tuple[tuple[int, ...], ...]
"""The key frames of each run on a clip so far; the last ones are those of the run meant."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One pass. `order`: the frames that it visits, of which `steps` says what was found."""

    start: int
    order: tuple[int, ...]
    steps: dict[int, Step]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip with its images and human masks as the engines take them."""

    footage: Footage

    @property
    def length(self) -> int:
        """How many frames there are."""
        return len(self.footage.images)

    @property
    def drawn(self) -> tuple[int, ...]:
        """The frames of which there is a human mask."""
        return tuple(i for i, mask in enumerate(self.footage.masks) if mask is not None)

    def image(self, index: int) -> Image:
        """RGB uint8 (H, W, 3)."""
        return _image(self.footage.images[index])

    def labels(self, index: int) -> LabelMap:
        """The human masks of a frame that has some, (H, W)."""
        drawn = self.footage.labels(index)
        assert drawn is not None
        return np.where(drawn == ONE, 1, drawn).astype(np.uint16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Which engine, and what its figures depend on. `cache`: the folder of what it computed.

    `whole`: of `flow` only: motion is matched once for whole frames, not round the objects of each
    pass (`bench.whole_flow`).
    """

    name: str
    cache: Path
    seed: int = 0
    threads: int = 1
    whole: bool = False
    _matched: Matched = field(default_factory=dict, repr=False)

    @property
    def learns(self) -> bool:
        """Whether a pass depends on all key frames of its run."""
        return engines.resolve(self.name).learns

    def walk(self, clip: Clip, rounds: Rounds, key: int, end: int) -> Walk:
        """The pass from `key` to frame `end`, of the last run of `rounds`."""
        way = 1 if end > key else -1
        order = tuple(range(key + way, end + way, way)) if end != key else ()
        folder = self._folder(clip, rounds)
        file = folder / f"{key}{'+' if way > 0 else '-'}.npz"
        known = _load(file) if file.exists() else {}
        if not known.keys() >= set(order):
            self._extend(clip, rounds, key, order, file, known)
            _load.cache_clear()
            known = _load(file)
        return Walk(key, order, {frame: known[frame] for frame in order})

    def steps(self, clip: Clip, key: int, order: Iterable[int]) -> Iterator[Step]:
        """A pass of an engine that does not learn, which is not kept."""
        propagator = self._propagator(clip, ())
        propagator.start(clip.image(key), clip.labels(key))
        return (propagator.step(clip.image(frame)) for frame in order)

    def _folder(self, clip: Clip, rounds: Rounds) -> Path:
        name = clip.footage.name
        told = repr((clip.length, rounds if self.learns else (), self.seed))
        told = hashlib.sha256(told.encode()).hexdigest()[:16]
        engine = f"{self.name}-whole" if self.whole else self.name
        folder = self.cache / engine / f"{name}-{told}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _extend(
        self,
        clip: Clip,
        rounds: Rounds,
        key: int,
        order: Sequence[int],
        file: Path,
        known: Mapping[int, Step],
    ) -> None:
        """Go on with a pass behind what is `known` of it, to the end of `order`."""
        steps = dict(known)
        propagator = self._propagator(clip, rounds)
        propagator.start(clip.image(key), clip.labels(key))
        done = [frame for frame in order if frame in steps]
        for frame in done if propagator.replays else done[-1:]:
            propagator.remember(clip.image(frame), steps[frame].labels)
        for frame in order[len(done) :]:
            steps[frame] = propagator.step(clip.image(frame))
        part = file.with_suffix(".part.npz")
        np.savez_compressed(
            part,
            order=np.array(list(steps), dtype=np.int64),
            labels=np.array([step.labels for step in steps.values()]).astype(np.uint8),
            confidence=np.array([step.confidence for step in steps.values()], dtype=np.float32),
        )
        part.replace(file)

    def _propagator(self, clip: Clip, rounds: Rounds) -> Propagator:
        if self.whole:
            return WholeFlow(self._matched)
        learned = self._learned(clip, rounds) if self.learns else None
        return engines.make(self.name, seed=self.seed, threads=self.threads, learned=learned)

    def _learned(self, clip: Clip, rounds: Rounds) -> bytes | None:
        """What was learned in the last run, going on from the one before; None: no run yet."""
        if not rounds:
            return None
        file = self._folder(clip, rounds) / "learned.bin"
        if not file.exists():
            found = engines.learn(
                self.name,
                [Example(clip.image(key), clip.labels(key)) for key in rounds[-1]],
                seed=self.seed,
                threads=self.threads,
                earlier=self._learned(clip, rounds[:-1]),
            )
            assert found is not None  # nobody stops it
            file.write_bytes(found)
        return file.read_bytes()


@lru_cache(maxsize=256)
def _image(path: Path) -> Image:
    with Picture.open(path) as picture:
        return np.array(picture.convert("RGB"))


@lru_cache(maxsize=8)
def _load(file: Path) -> dict[int, Step]:
    with np.load(file) as data:
        order: NDArray[np.int64] = data["order"]
        labels, confidence = data["labels"], np.round(data["confidence"], 4)
        return {
            int(frame): Step(labels[i].astype(np.uint16), confidence[i])
            for i, frame in enumerate(order)
        }
