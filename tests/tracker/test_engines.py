"""Promise: engines are known by name, "auto" works, and a wrong name is told the right ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from errors import InputError
from tracker.engines import engines, make, resolve


def test_auto_is_the_best_engine_present() -> None:
    assert resolve("auto") == engines()[0]
    assert resolve("auto").name == "builtin"


def test_the_engines_that_need_no_download_are_four() -> None:
    assert [info.name for info in engines()] == ["builtin", "builtin-fast", "builtin-best", "flow"]
    assert not any(info.needs for info in engines())
    assert [info.name for info in engines() if not info.learns] == ["flow"]
    assert [resolve(info.name) for info in engines()] == list(engines())


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    names = r"auto, builtin, builtin-fast, builtin-best, flow\."
    with pytest.raises(InputError, match=rf"no engine named 'deaot-x': use one of {names}"):
        resolve("deaot-x")
    with pytest.raises(InputError, match="builtin"):
        make("")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0"])
def test_every_engine_can_be_made_for_every_device(device: str) -> None:
    image, labels = np.zeros((20, 30, 3), dtype=np.uint8), np.zeros((20, 30), dtype=np.uint16)
    for info in engines():
        propagator = make(info.name, device, seed=3)
        propagator.start(image, labels)
        assert propagator.step(image).labels.shape == (20, 30)


def test_listing_engines_loads_no_heavy_library() -> None:
    program = (
        "import sys, tracker.engines as e; e.engines(); e.resolve('auto');"
        "sys.exit(bool({'cv2', 'torch', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
