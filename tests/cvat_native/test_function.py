"""Promise: CVAT's own agents can use our engines, to track masks and polygons and to follow clicks.

By the SDK's own classes: loaded as cvat-cli loads it, driven by the drivers of its agent.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
from cvat_cli._internal import agent_driver_interaction as interacting
from cvat_cli._internal import agent_driver_tracking as tracking
from cvat_cli._internal.agent_driver import set_worker_current_function
from cvat_cli._internal.common import FunctionLoader
from cvat_sdk.masks import decode_mask, encode_mask
from PIL import Image

from cvat_native.following import Tracker
from cvat_native.shapes import outline, pixels_of, shape_of
from errors import InputError
from tests.helpers.clips import tiny_clip

FILE = Path(__file__).parents[2] / "cvat_function.py"


def loaded(**parameters: object):
    function = FunctionLoader(None, FILE, {"device": "cpu", **parameters}).load()
    set_worker_current_function(function)
    numbers = iter(range(1000))
    tracking.AgentTrackingFunctionDriver.init_worker(lambda: f"state-{next(numbers)}")
    interacting.AgentInteractionFunctionDriver.init_worker(None)
    return function


def pictures(clip) -> list[Image.Image]:
    return [Image.fromarray(image) for image in clip.images]


def iou(one, two) -> float:
    return float((one & two).sum() / (one | two).sum())


@pytest.mark.parametrize("kind", ["mask", "polygon"])
def test_an_agent_tracks_several_shapes_from_frame_to_frame(kind: str) -> None:
    clip = tiny_clip(6)
    function = loaded(engine="flow")
    assert tracking.AgentTrackingFunctionDriver.get_remote_function_fields(function.spec) == {
        "supported_shape_types": ["mask", "polygon"]
    }
    frames = pictures(clip)
    shapes = [shape_of(clip.maps[0] == number, kind) for number in (1, 2)]
    states = tracking._worker_job_init_tracking(1, frames[0], shapes)
    for index in range(1, 6):
        found = tracking._worker_job_track(1, frames[index], states)
        for number, shape in enumerate(found, 1):
            assert shape.type == kind
            assert iou(pixels_of(shape, 48, 64), clip.maps[index] == number) > 0.8


def test_a_shape_that_is_asked_for_later_than_its_fellows_is_where_it_was() -> None:
    clip = tiny_clip(5)
    loaded(engine="flow")
    frames = pictures(clip)
    shapes = [shape_of(clip.maps[0] == number, "mask") for number in (1, 2)]
    one, two = tracking._worker_job_init_tracking(1, frames[0], shapes)
    first = [tracking._worker_job_track(1, frame, [one])[0] for frame in frames[1:]]
    second = [tracking._worker_job_track(1, frame, [two])[0] for frame in frames[1:]]
    both = loaded(engine="flow")
    assert both is not None
    states = tracking._worker_job_init_tracking(1, frames[0], shapes)
    for index, frame in enumerate(frames[1:]):
        assert tracking._worker_job_track(1, frame, states) == [first[index], second[index]]


def test_shapes_that_lie_on_one_another_are_both_followed() -> None:
    clip = tiny_clip(3, objects=1)
    loaded(engine="flow")
    whole = clip.maps[0] == 1
    upper = whole.copy()
    upper[np.flatnonzero(whole.any(axis=1))[6] :] = False
    shapes = [shape_of(mask, "mask") for mask in (whole, upper)]
    states = tracking._worker_job_init_tracking(1, pictures(clip)[0], shapes)
    large, small = tracking._worker_job_track(1, pictures(clip)[1], states)
    assert iou(pixels_of(large, 48, 64), clip.maps[1] == 1) > 0.8
    assert 0.3 < pixels_of(small, 48, 64).sum() / whole.sum() < 0.8


def test_an_object_that_has_left_is_none() -> None:
    assert shape_of(np.zeros((4, 5), dtype=np.bool_), "mask") is None
    assert shape_of(np.zeros((4, 5), dtype=np.bool_), "polygon") is None


@pytest.mark.parametrize("radius", [1, 4, 20])
def test_a_polygon_has_the_pixels_of_its_mask(radius: int) -> None:
    rows, columns = np.mgrid[:64, :80]
    mask = (rows - 30) ** 2 + (columns - 40) ** 2 <= radius**2
    shape = cvataa.TrackableShape(type="polygon", points=outline(mask))
    assert iou(pixels_of(shape, 64, 80), mask) > (0.9 if radius > 1 else 0.5)


def test_clicks_and_a_box_become_a_mask() -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[20:40, 30:60] = (220, 180, 40)
    function = loaded(kind="interactor")
    assert interacting.AgentInteractionFunctionDriver.get_remote_function_fields(function.spec) == {
        "min_pos_points": 1, "min_neg_points": 0, "startswith_box_optional": True,
    }  # fmt: skip
    for box in (None, ((28.0, 18.0), (62.0, 42.0))):
        prompts = interacting._InteractionPromptsImpl(
            pos_points=((45.5, 30.5),), neg_points=((5.5, 5.5),), bounding_box=box
        )
        found = interacting._worker_job_interact("key", Image.fromarray(image), prompts)
        again = interacting._worker_job_interact_from_cache("key", prompts)
        assert [shape.type for shape in found] == ["mask"]
        assert found == again
        mask = decode_mask(found[0].points, image_width=80, image_height=60)
        assert iou(mask, (image > 0).any(axis=2)) > 0.8
        assert 0 <= float(found[0].attributes[0].value) <= 1


def test_wrong_parameters_are_said_when_the_agent_starts() -> None:
    for wrong in (
        {"engine": "none"},
        {"kind": "detector"},
        {"segmenter": "x", "kind": "interactor"},
    ):
        with pytest.raises(InputError, match="There is no"):
            loaded(**wrong)


def test_an_engine_that_is_to_learn_does_so_once_for_all_shapes(monkeypatch) -> None:
    from cvat_native import following

    learned = []

    def learn(name, examples, **options):
        learned.append([int(example.labels.max()) for example in examples])
        return b""

    monkeypatch.setattr(following.engines, "learn", learn)
    clip = tiny_clip(3)
    tracker = Tracker("builtin-fast", "cpu", learn=True)
    frame = tracker.preprocess_image(None, pictures(clip)[0])
    shapes = [
        cvataa.TrackableShape(type="mask", points=encode_mask(clip.maps[0] == n)) for n in (1, 2)
    ]
    states = [tracker.init_tracking_state(None, frame, shape) for shape in shapes]

    @dataclass
    class Context:
        original_shape_type: str = "mask"

    after = tracker.preprocess_image(None, pictures(clip)[1])
    assert all(tracker.track(Context(), after, state) for state in states)
    assert learned == [[2]]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("tracker", {"kind": "tracker", "supported_shape_types": ["mask", "polygon"]}),
        (
            "interactor",
            {"kind": "interactor", "min_pos_points": 1, "startswith_box_optional": True},
        ),
    ],
)
def test_cvat_cli_makes_the_function_on_the_server(kind: str, fields: dict, tmp_path: Path) -> None:
    from tests.helpers.cvat_standin import TOKEN, StandIn

    cvat = StandIn()
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "cvat_cli", "--server-host", cvat.url, "function",
                "create-native", "Mask Relay", f"--function-file={FILE}", "-p", f"kind=str:{kind}",
                "-p", "device=str:cpu",
            ],
            env=os.environ
            | {
                "CVAT_ACCESS_TOKEN": TOKEN,
                "HOME": str(tmp_path),
                "PYTHONPATH": os.pathsep.join([str(FILE.parent), os.environ.get("PYTHONPATH", "")]),
            },
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "5\n"
        made = cvat.functions[0]
        assert made["provider"] == "native"
        assert {name: made[name] for name in fields} == fields
    finally:
        cvat.close()
