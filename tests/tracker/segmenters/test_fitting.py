"""Promise: a segmenter that does not fit into a GPU goes on on the processor and says so; nobody
sees a trace, and what it says of the image is what a processor says.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from errors import InputError
from tests.tracker.transformers_tiny import image_model, picture
from tracker.fits import PROCESSOR
from tracker.segmenters.fitting import FittingSegmenter
from tracker.segmenters.protocol import Segmenter
from tracker.segmenters.transformers_image import TransformersSegmenter

BOX = np.array([10, 8, 40, 30], np.float32)


@pytest.fixture(autouse=True)
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("part", ["vision_encoder", "mask_decoder"])
def test_memory_that_runs_out_costs_time_and_nothing_else(part: str) -> None:
    """Whether it is found at an image or at its first prompt."""
    model, processor = image_model("sam2.1-tiny")
    small = copy.deepcopy(model)

    def refuse(module: object, given: object, made: object) -> None:
        raise torch.OutOfMemoryError("there is no room")

    small.get_submodule(part).register_forward_hook(refuse)
    asked: list[str] = []
    heard: list[str] = []

    def make(device: str) -> Segmenter:
        asked.append(device)
        return TransformersSegmenter.of(model if device == "cpu" else small, processor)

    fitting = FittingSegmenter(make, "cuda:0", heard.append)
    plain = TransformersSegmenter.of(model, processor)
    for seed in (1, 2):
        for segmenter in (fitting, plain):
            segmenter.set_image(picture(seed))
        mine, theirs = fitting.predict(box=BOX), plain.predict(box=BOX)
        np.testing.assert_array_equal(mine.mask, theirs.mask)
        assert mine.score == theirs.score
    assert asked == ["cuda:0", "cpu"]
    assert heard == [PROCESSOR]


def test_other_errors_stay_what_they_are() -> None:
    model, processor = image_model("sam2.1-tiny")
    fitting = FittingSegmenter(lambda device: TransformersSegmenter.of(model, processor), "cuda")
    with pytest.raises(RuntimeError, match="before set_image"):
        fitting.predict(box=BOX)
    fitting.set_image(picture(1))
    with pytest.raises(InputError):
        fitting.predict()
