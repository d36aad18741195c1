"""What a re-segmentation takes over from the previous result: our masks, as a human left them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from cvat_io.defaults import Defaults
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.reader import Export, open_export
from jobs.compare import unchanged
from jobs.ours import Origins
from jobs.plan import Origin, RunInputs, RunPlan
from jobs.sheet import AUTO, mask_digest
from worker.objects import Shown
from worker.shelf import Shelf

Placed = tuple[bool, int]  # occluded, z_order


class Drawings:
    """The masks that are not computed, by frame; use it as a context manager.

    Masks on key frames and those with an ignored label are a human's. All others are carried, on
    frames that have an image or still have masks in the export (CVAT drops both when a frame is
    deleted). A carried mask is the previous result's, but lies as high as the export's equal mask
    and is occluded as that one is: such edits make no frame a key frame.
    """

    def __init__(
        self,
        inputs: RunInputs,
        plan: RunPlan,
        drawn: Export,
        sequence: Collection[int],
        folder: Path,
    ) -> None:
        """`drawn`: the annotations whose masks the key frames show, open.

        `sequence`: the frames that have an image. `folder`: where masks are laid aside.
        """
        self._keys = frozenset(plan.key_frames)
        self._seeds = plan.seeds
        self.ignored = inputs.ignore_labels
        self.defaults = Defaults(drawn.meta.labels)
        self._origins = Origins(Lineage(0, 0, drawn.meta.frames))  # of the carried masks
        self._placed: dict[int, dict[bytes, list[Placed]]] = {}
        self._ours: dict[int, list[int]] = {}
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._drawn = self._carried = stack.enter_context(Shelf(folder))
            if plan.carried is Origin.EXPORT:
                self._drawn.fill(_masks(drawn))
            else:
                self._drawn.fill(self._sorted(drawn, plan))
                there = set(sequence) | self._placed.keys()
                self._carried = stack.enter_context(Shelf(folder))
                assert inputs.previous is not None
                with open_export(inputs.previous, inputs.limits) as previous:
                    self._origins = Origins.of(previous)
                    # What was a human's and is in the export no more was taken back. Masks on key
                    # frames are laid aside to know the export's again.
                    self._carried.fill(
                        s
                        for s in _masks(previous)
                        if s.frame in self._keys
                        or (
                            self._carries(s)
                            and s.frame in there
                            and (s.source == AUTO or s.frame in self._placed)
                        )
                    )
            self._shown = self._was_shown() if self.lineage.objects else {}
            self._stack = stack.pop_all()

    @property
    def lineage(self) -> Lineage:
        """What is known of the objects of carried masks."""
        return self._origins.lineage

    def human(self, frame: int) -> list[MaskShape]:
        """What a human drew on a frame: on a key frame all, on others only ignored labels.

        Masks on key frames that an earlier run made, and that stay, are among them (`ours`).
        """
        return [shape for shape in self._drawn.take(frame) if not self._carries(shape)]

    def tracked(self, frame: int) -> list[MaskShape]:
        """The masks of a frame without those of ignored labels: drawn, or else carried."""
        if frame in self._keys:
            return [s for s in self._drawn.take(frame) if s.label not in self.ignored]
        return [shape for shape, _ in self.carried(frame)]

    def carried(self, frame: int) -> list[tuple[MaskShape, int]]:
        """The masks that may stay on a frame that is no key frame, and their objects.

        On a key frame, those that we made there before. Objects are numbered as the previous
        result does it; 0: not known.
        """
        found = [
            shape
            for shape in self._carried.take(frame)
            if self._carries(shape)
            or (shape.label not in self.ignored and self._origins.made(shape))
        ]
        placed = {d: iter(each) for d, each in self._placed.get(frame, {}).items()}
        carried = []
        for shape in found:
            number = self.lineage.object_of(shape)
            if placed:
                own = (shape.occluded, shape.z_order)
                digest = mask_digest(shape, self.defaults)
                occluded, z_order = next(placed.get(digest, iter(())), own)
                shape = replace(shape, occluded=occluded, z_order=z_order)
            carried.append((shape, number))
        return carried

    def by_hand(self, carried: Iterable[tuple[MaskShape, int]]) -> dict[int, Placed]:
        """Which of carried masks a human placed, now or earlier: by object, occluded and z_order.

        We place a mask as the nearest key frame of its object does; whatever is placed otherwise
        was so by hand, and stays so where the mask itself is made anew.
        """
        found: dict[int, Placed] = {}
        for shape, number in carried:
            if number in self._shown:
                model = self._shown[number].nearest(shape.frame)
                placed = (shape.occluded, shape.z_order)
                if placed != (model.occluded, model.z_order):
                    found[number] = placed
        return found

    def _was_shown(self) -> dict[int, Shown]:
        """The objects of the previous result as its key frames showed them, without run lengths."""
        found: dict[int, list[MaskShape]] = {}
        for frame in sorted(self._keys):
            for shape in self._carried.bare(frame):
                number = self.lineage.object_of(shape)
                if number and not self._origins.made(shape):
                    found.setdefault(number, []).append(shape)
        return {
            number: Shown(tuple(shape.frame for shape in shapes), tuple(shapes))
            for number, shapes in found.items()
        }

    def ours(self, frame: int) -> Collection[int]:
        """Which of a key frame's tracked masks an earlier run made: k of the k-th."""
        return self._ours.get(frame, ())

    def carries(self, frame: int) -> bool:
        """Whether masks are there to stay on a frame."""
        return any(map(self._carries, self._carried.bare(frame)))

    def seeds(self, frames: Collection[int]) -> dict[int, list[MaskShape]]:
        """The tracked masks of key frames, without run lengths."""
        return {
            frame: [s for s in self._drawn.bare(frame) if s.label not in self.ignored]
            for frame in frames
        }

    def objects(self, frame: int) -> tuple[int, ...]:
        """The objects of a key frame's tracked masks, as the previous result numbers them.

        0 for new ones, and where nothing is known.
        """
        now = self.tracked(frame)
        planned = self._seeds.get(frame, ())
        if not self.lineage.objects:
            return (0,) * len(now)
        if planned:  # masks that were made of shapes come behind those that were drawn
            return (*planned, *(0,) * (len(now) - len(planned)))
        before = [s for s in self._carried.take(frame) if s.label not in self.ignored]
        known = [(shape, self.lineage.object_of(shape)) for shape in before]
        return unchanged(known, now, self.defaults)

    def _carries(self, shape: MaskShape) -> bool:
        return shape.frame not in self._keys and shape.label not in self.ignored

    def _sorted(self, drawn: Export, plan: RunPlan) -> Iterator[MaskShape]:
        """The masks of the export that are kept; of others, note how they are placed."""
        places: Counter[int] = Counter()  # of tracked masks on key frames, as far as we are
        left: Counter[int] = Counter()
        for shape in _masks(drawn):
            frame = shape.frame
            if self._carries(shape):
                self._note_placed(shape)
                continue
            if shape.label not in self.ignored:
                k, places[frame] = places[frame], places[frame] + 1
                if k in plan.anew.get(frame, ()):
                    self._note_placed(shape)
                    continue
                if k in plan.ours.get(frame, ()):
                    self._ours.setdefault(frame, []).append(left[frame])
                    shape = replace(shape, source=AUTO)
                left[frame] += 1
            yield shape

    def _note_placed(self, shape: MaskShape) -> None:
        digest = mask_digest(shape, self.defaults)
        same = self._placed.setdefault(shape.frame, {}).setdefault(digest, [])
        same.append((shape.occluded, shape.z_order))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def _masks(export: Export) -> Iterator[MaskShape]:
    return (track for track in export.tracks() if isinstance(track, MaskShape))
