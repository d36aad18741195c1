"""What is learned once and serves many tests; the threads of this process as they were."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.engines import quick, use
from tests.tracker.scenes import FAST, SMALL, scene
from tracker.engines import learn
from tracker.protocol import Example


@pytest.fixture(scope="session")
def learned() -> bytes:
    """What the fast engine learns from the first frame of `SMALL`."""
    return _learn(SMALL[0])


@pytest.fixture(scope="session")
def learned_scene() -> bytes:
    """What the fast engine learns from the first frame of `scene`."""
    return _learn(scene(1)[0])


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts back the number of threads that this process computes with."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def _learn(frame: tuple[np.ndarray, np.ndarray]) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        use(quick, patch)
        found = learn(FAST, [Example(*frame)])
    assert found is not None
    return found
