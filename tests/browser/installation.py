"""A whole installation that a browser looks at: server, worker and broker as processes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from bench.house import House
from bench.processes import wait_for
from cvat_io.build import write_export
from demo.clip import Clip, make_clip
from demo.sample import LABELS, exact_masks
from tests.helpers.clips import png

LAST = 15
LONG = 60_000  # milliseconds: a worker starts, or learns what it needs, on a busy machine


class Site:
    """One installation for all tests: a server, a job for each test, a worker once it is wanted."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.folder = folder
        self.clip: Clip = make_clip(frames=LAST + 1)
        self.jobs = 0
        self.server, self.port = self.house.server()
        self.url = f"http://127.0.0.1:{self.port}"

    def away(self) -> None:
        self.server.kill()

    def back(self) -> None:
        self.server, _ = self.house.server(self.port)

    def job(self, *keys: int) -> str:
        """A fresh job: masks of all objects on some frames, by default on frame 0."""
        self.jobs += 1
        return self.receive(f"panel-{self.jobs}", self.clip, keys or (0,))

    def receive(self, name: str, clip: Clip, keys: Sequence[int]) -> str:
        """Hand over an export, with the masks of some frames; -> the job's id."""
        path = self.folder / f"{name}.zip"
        write_export(
            path,
            frames=((number, png(image)) for number, (image, _) in enumerate(clip)),
            width=clip.width,
            height=clip.height,
            labels=LABELS,
            masks=[shape for key in keys for shape in exact_masks(clip, key)],
            stop_frame=len(clip) - 1,
        )
        return self.house.receive(path)

    def tracked(self, until: int) -> str:
        """A fresh job whose session has masks from frame 0, which is drawn, to `until`."""
        job = self.job()
        self.ask(f"/api/jobs/{job}/session")
        self.post(f"/api/jobs/{job}/session/step", {"from": 0, "to": until})
        known = f"0-{until}"
        wait_for(lambda: self.ask(f"/api/jobs/{job}/session")["computed"] == known, "the masks")
        return job

    def worker(self) -> None:
        """See to it that a worker runs and has told so."""
        self.house.worker("anna", ENGINE="flow")
        wait_for(lambda: bool(self.house.jobs.workers()), "the worker")

    def frame(self, job: str, frame: int) -> dict[str, Any]:
        """One frame of the session as the API has it."""
        return self.ask(f"/api/jobs/{job}/session/frames/{frame}")

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def objects(self, job: str, frame: int) -> list[int]:
        """The objects that have a mask on a frame of the session."""
        return sorted(mask["object"] for mask in self.frame(job, frame)["masks"])

    def mask(self, job: str, frame: int, number: int) -> np.ndarray:
        """The pixels of an object on a frame of the session."""
        pixels = np.zeros((self.clip.height, self.clip.width), bool)
        for mask in self.frame(job, frame)["masks"]:
            if mask["object"] == number:
                left, top, width, height = mask["box"]
                runs = [int(run) for run in mask["runs"].split(",")]
                bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
                pixels[top : top + height, left : left + width] = bits.reshape(height, width)
        return pixels


def shows(page: Page, frame: int, kind: str | None = None) -> None:
    """Wait until the page shows a frame, of a kind where one is given."""
    expect(page.locator("#frame")).to_have_value(str(frame), timeout=LONG)
    if kind is not None:
        expect(page.locator("#kind")).to_have_text(kind)


def place(page: Page, site: Site, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the frame lies in the window."""
    box = page.locator("#stage canvas").bounding_box()
    assert box is not None
    scale = min(box["width"] / site.clip.width, box["height"] / site.clip.height)
    left = box["x"] + (box["width"] - scale * site.clip.width) / 2
    top = box["y"] + (box["height"] - scale * site.clip.height) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def middle(site: Site, frame: int, number: int) -> tuple[int, int]:
    """A pixel well inside of an object's true mask."""
    rows, columns = np.nonzero(site.clip.frame(frame)[1] == number)
    return int(np.median(columns)), int(np.median(rows))


def stroke(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()
