"""Promise: CVAT's agent serves CVAT's buttons with our engines, request by request.

`cvat-cli function run-agent` itself, with its own loop, against a server over real HTTP: it is
told of requests, takes them, fetches the frames, and sends back what our function found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cvat_sdk.masks import decode_mask, encode_mask

from tests.helpers.clips import Clip, tiny_clip
from tests.helpers.cvat_standin import TOKEN, Job, StandIn

ROOT = Path(__file__).parents[2]
TASK = 264


@contextmanager
def agent(cvat: StandIn, folder: Path, **parameters: str) -> Iterator[subprocess.Popen[str]]:
    """Make the function and run its agent until the block ends."""
    given = [f"--function-file={ROOT / 'cvat_function.py'}"]
    for name, value in {"device": "cpu", **parameters}.items():
        given += ["-p", f"{name}=str:{value}"]
    start = [sys.executable, "-m", "cvat_cli", "--server-host", cvat.url, "function"]
    env = os.environ | {"CVAT_ACCESS_TOKEN": TOKEN, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [*start, "create-native", "Mask Relay", *given],
        env=env, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    log = folder / "agent.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*start, "run-agent", made.stdout.strip(), *given],
            env=env, cwd=folder, stdout=stream, stderr=stream, text=True,
        )  # fmt: skip
    try:
        while not cvat.queue.watched.wait(0.2):
            assert process.poll() is None, log.read_text()
        yield process
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()  # not SIGINT, which processes in the background may ignore
        process.wait(60)


def standin(clip: Clip) -> StandIn:
    cvat = StandIn()
    cvat.jobs[TASK] = Job(clip, number=TASK)
    return cvat


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_an_agent_tracks_shapes_when_cvat_asks_for_it(tmp_path: Path) -> None:
    clip = tiny_clip(4)
    cvat = standin(clip)
    shapes = [{"type": "mask", "points": encode_mask(clip.maps[0] == n)} for n in (1, 2)]
    try:
        with agent(cvat, tmp_path, engine="flow"):
            step, begun = cvat.queue.ask(
                "a", type="init_tracking", task=TASK, frame=0, shapes=shapes
            )
            assert step == "complete"
            assert len(begun["states"]) == 2
            for frame in (1, 2):
                step, found = cvat.queue.ask(
                    f"b{frame}", type="track", task=TASK, frame=frame, states=begun["states"]
                )
                assert step == "complete"
                for number, shape in enumerate(found["shapes"], 1):
                    mask = decode_mask(shape["points"], image_width=64, image_height=48)
                    assert iou(mask, clip.maps[frame] == number) > 0.8
            step, refused = cvat.queue.ask("c", type="track", task=TASK, frame=3, states=["gone"])
            assert step == "fail"
            assert "not found" in refused["exc_info"]
            empty = [{"type": "polygon", "points": [-9.0, -9.0, -8.0, -9.0, -8.0, -8.0]}]
            step, refused = cvat.queue.ask(
                "d", type="init_tracking", task=TASK, frame=0, shapes=empty
            )
            assert step == "fail"
            assert "without a pixel" in refused["exc_info"]
        assert len(cvat.queue.agents) == 1
    finally:
        cvat.close()


def test_an_agent_follows_clicks_when_cvat_asks_for_it(tmp_path: Path) -> None:
    clip = tiny_clip(2)
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[12:36, 20:50] = (220, 180, 40)
    cvat = standin(Clip([image, clip.images[1]], clip.maps, clip.kinds))
    try:
        with agent(cvat, tmp_path, kind="interactor"):
            for name, points in (("a", [[35.5, 24.5]]), ("b", [[35.5, 24.5], [25.5, 15.5]])):
                step, found = cvat.queue.ask(
                    name, type="interact", task=TASK, frame=0,
                    pos_points=points, neg_points=[[3.5, 3.5]],
                    obj_bbox=[[18.0, 10.0], [52.0, 38.0]],
                )  # fmt: skip
                assert step == "complete"
                (shape,) = found["shapes"]
                mask = decode_mask(shape["points"], image_width=64, image_height=48)
                assert iou(mask, (image > 0).any(axis=2)) > 0.8
        frames = [path for _, path, _ in cvat.asked if "/data?" in path or "/data/?" in path]
        assert len(frames) == 1  # the second click is answered from what is remembered
    finally:
        cvat.close()
