"""A TrackingFunction: shapes on one frame are found again on the next ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np

from cvat_native.shapes import Frame, Pixels, pixels_of, shape_of
from tracker import engines
from tracker.protocol import Example, LabelMap, Propagator

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_REMEMBERED = 256  # frames whose masks are kept for shapes that are asked for later


@dataclass(eq=False)
class Group:
    """Shapes that were given on one frame and are followed together, by one propagator.

    An agent gives the shapes of a frame one by one; the propagator is made when the first of them
    is asked for on another frame. What it saw is kept, so that a shape that is asked for later
    than its fellows gets the frame that it is asked for.
    """

    start: Frame
    labels: LabelMap
    count: int = 0
    follows: Propagator | None = None
    seen: OrderedDict[bytes, LabelMap] = field(default_factory=OrderedDict)

    def takes(self, frame: Frame, mask: Pixels) -> bool:
        """Whether another shape can be followed along: one pixel belongs to one object."""
        same = self.follows is None and frame is self.start
        return same and not bool(self.labels[mask].any())

    def add(self, mask: Pixels) -> int:
        """The number by which the shape is known from here on."""
        self.count += 1
        self.labels[mask] = self.count
        return self.count


@dataclass(frozen=True, eq=False)
class State:
    """What an agent keeps of a shape that is tracked."""

    group: Group
    number: int


class Tracker:
    """A TrackingFunction: masks and polygons on one frame are found again on the next ones."""

    spec = cvataa.TrackingFunctionSpec(supported_shape_types=["mask", "polygon"])

    def __init__(self, engine: str, device: str, *, learn: bool = False, threads: int = 0) -> None:
        engines.resolve(engine)  # a name that is not known is said at once
        if engine != engines.AUTO:
            engines.require(engine)
        self._engine, self._device, self._learn = engine, device, learn
        self._threads = threads
        self._open: Group | None = None  # that further shapes of its frame may join

    def preprocess_image(self, context: object, image: Picture) -> Frame:
        """The image in the form that is shared by all shapes on it."""
        return Frame.of(image)

    def init_tracking_state(self, context: object, pp_image: Frame, shape: Any) -> State:
        """Take a shape on."""
        height, width = pp_image.image.shape[:2]
        mask = pixels_of(shape, height, width)
        if not mask.any():
            raise cvataa.BadFunctionError("a shape without a pixel in the image cannot be tracked")
        group = self._open
        if group is None or not group.takes(pp_image, mask):
            group = Group(pp_image, np.zeros((height, width), dtype=np.uint16))
            self._open = group
        return State(group, group.add(mask))

    def track(self, context: Any, pp_image: Frame, state: State) -> Any:
        """The shape on this image; None where the object is not to be seen."""
        labels = self._labels(state.group, pp_image)
        return shape_of(labels == state.number, context.original_shape_type)

    def _labels(self, group: Group, frame: Frame) -> LabelMap:
        if self._open is group:
            self._open = None
        if frame.content == group.start.content:
            return group.labels
        found = group.seen.get(frame.content)
        if found is None:
            if group.follows is None:
                group.follows = self._begin(group)
            found = group.follows.step(frame.image).labels
            group.seen[frame.content] = found
            if len(group.seen) > _REMEMBERED:
                group.seen.popitem(last=False)
        return found

    def _begin(self, group: Group) -> Propagator:
        learned = None
        if self._learn and engines.resolve(self._engine, self._device).learns:
            examples = [Example(group.start.image, group.labels)]
            learned = engines.learn(
                self._engine, examples, device=self._device, threads=self._threads
            )
        made = engines.make(self._engine, self._device, threads=self._threads, learned=learned)
        made.start(group.start.image, group.labels)
        return made
