"""The `flow` engine with motion matched once for whole frames, for benches that need many passes.

The engine matches motion round the objects of a pass, which costs nine tenths of its time and
differs from pass to pass. Matched for whole frames, it is shared by all passes of a clip; masks
come out nearly the same.
"""

from __future__ import annotations

import numpy as np

from tracker.propagators.flow.matching import Flow, flow
from tracker.propagators.flow.propagator import FlowPropagator
from tracker.protocol import Image

Matched = dict[tuple[int, int], tuple[Image, Image, Flow]]
"""By the pictures' identities, which hold as long as the pictures do."""


class WholeFlow(FlowPropagator):
    """`matched`: what was matched so far, shared by all passes over the same picture objects."""

    def __init__(self, matched: Matched) -> None:
        super().__init__()
        self._matched = matched

    def _motion(self, last: Image, image: Image, part: tuple[slice, slice]) -> Flow:
        pair = id(last), id(image)
        if pair not in self._matched:
            self._matched[pair] = last, image, flow(last, image)
        whole = self._matched[pair][2]
        rows, columns = part
        return Flow(
            np.ascontiguousarray(whole.x[part]) - np.float32(columns.start),
            np.ascontiguousarray(whole.y[part]) - np.float32(rows.start),
            np.ascontiguousarray(whole.gap[part]),
        )
