"""What a re-segmentation takes over from the previous result: our masks, as a human left them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from cvat_io.model import MaskShape
from cvat_io.reader import Export, open_export
from jobs.plan import Origin, RunInputs, RunPlan
from jobs.sheet import AUTO, mask_digest
from worker.shelf import Shelf

_Beside = tuple[bool, int]  # occluded, z_order


class Drawings:
    """The masks that are not computed, by frame; use it as a context manager.

    Masks on key frames and those with an ignored label are a human's. All others are carried, on
    frames that have an image or still have masks in the export (CVAT drops both when a frame is
    deleted). A carried mask is the previous result's, but lies as high as the export's equal mask
    and is occluded as that one is: such edits make no frame a key frame.
    """

    def __init__(
        self, inputs: RunInputs, plan: RunPlan, drawn: Export, sequence: Collection[int]
    ) -> None:
        """`drawn`: the archive whose masks the key frames show, open.

        `sequence`: the frames that have an image.
        """
        self._keys = frozenset(plan.key_frames)
        self.ignored = inputs.ignore_labels
        self._beside: dict[int, dict[bytes, list[_Beside]]] = {}
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._drawn = self._carried = stack.enter_context(Shelf())
            if plan.carried is Origin.EXPORT:
                self._drawn.fill(drawn, lambda shape: True)
            elif plan.drawn is Origin.PREVIOUS:
                with open_export(inputs.annotations, inputs.limits) as export:
                    there = set(sequence) | {
                        shape.frame for shape in export.tracks() if isinstance(shape, MaskShape)
                    }
                self._drawn.fill(drawn, lambda s: not self._carries(s) or s.frame in there)
            else:
                self._drawn.fill(drawn, self._sort)
                there = set(sequence) | self._beside.keys()
                self._carried = stack.enter_context(Shelf())
                assert inputs.previous is not None
                with open_export(inputs.previous, inputs.limits) as previous:
                    # What was a human's and is in the export no more was taken back.
                    self._carried.fill(
                        previous,
                        lambda s: (
                            self._carries(s)
                            and s.frame in there
                            and (s.source == AUTO or s.frame in self._beside)
                        ),
                    )
            self._stack = stack.pop_all()

    def human(self, frame: int) -> list[MaskShape]:
        """What a human drew on a frame: on a key frame all, on others only ignored labels."""
        return [shape for shape in self._drawn.take(frame) if not self._carries(shape)]

    def tracked(self, frame: int) -> list[MaskShape]:
        """The masks of a frame without those of ignored labels: drawn, or else carried."""
        if frame in self._keys:
            return [s for s in self._drawn.take(frame) if s.label not in self.ignored]
        return self.carried(frame)

    def carried(self, frame: int) -> list[MaskShape]:
        """The masks that stay on a frame that is neither a key frame nor computed."""
        found = [shape for shape in self._carried.take(frame) if self._carries(shape)]
        if frame not in self._beside:
            return found
        beside = {digest: iter(each) for digest, each in self._beside[frame].items()}
        for index, shape in enumerate(found):
            own = (shape.occluded, shape.z_order)
            occluded, z_order = next(beside.get(mask_digest(shape), iter(())), own)
            found[index] = replace(shape, occluded=occluded, z_order=z_order)
        return found

    def carries(self, frame: int) -> bool:
        """Whether masks are there to stay on a frame."""
        return any(map(self._carries, self._carried.bare(frame)))

    def seeds(self, frames: Collection[int]) -> dict[int, list[MaskShape]]:
        """The tracked masks of key frames, without run lengths."""
        return {
            frame: [s for s in self._drawn.bare(frame) if s.label not in self.ignored]
            for frame in frames
        }

    def _carries(self, shape: MaskShape) -> bool:
        return shape.frame not in self._keys and shape.label not in self.ignored

    def _sort(self, shape: MaskShape) -> bool:
        """Whether a mask of the export is kept as it is; of others, note what stands beside."""
        if not self._carries(shape):
            return True
        same = self._beside.setdefault(shape.frame, {}).setdefault(mask_digest(shape), [])
        same.append((shape.occluded, shape.z_order))
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
