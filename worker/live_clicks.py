"""Masks from clicks and boxes in a live session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvat_io.masks import encode, paint
from jobs.options import RunOptions
from jobs.session_masks import mask_from, runs_text
from tracker.engines import Power
from tracker.segmenters.protocol import Segmenter
from worker.live_desk import Desk
from worker.prompts import segmenter


class Clicks:
    """The segmenters of one loop; each remembers the picture that it looked at last."""

    def __init__(self, device: str, kept: Path, threads: int) -> None:
        """`device`: "cpu", "cuda" or "cuda:N". `kept`: a folder for pictures that are encoded."""
        self._device = device
        self._kept = kept
        self._threads = threads
        self._segmenters: dict[str, Segmenter] = {}
        self._seen: dict[str, tuple[object, int]] = {}  # what each looked at last

    def look(self, desk: Desk, name: str, frame: int) -> Segmenter:
        """The segmenter `name`, which has looked at a frame.

        Raises InputError where its weights are missing, and for a picture that cannot be read.
        """
        from tracker.power import working  # here: it brings PyTorch, which takes seconds

        with working(Power(threads=self._threads)):
            if name not in self._segmenters:
                options = RunOptions(segmenter=name)
                self._segmenters[name] = segmenter(options, self._device, self._kept)
            place = (desk.facts.images, frame)
            if self._seen.get(name) != place:
                self._seen.pop(name, None)
                self._segmenters[name].set_image(desk.pictures.read(frame))
                self._seen[name] = place
        return self._segmenters[name]

    def answer(self, desk: Desk, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The mask that points (x, y, 1 on the object or 0) and a box mean, as a request asks.

        `start` of the request: a mask that they mend.

        Coordinates count from the corner of the first pixel, segmenters' from its middle.
        """
        from tracker.power import working  # here: it brings PyTorch, which takes seconds

        looked = self.look(desk, name, asked["frame"])
        given = np.array(asked["points"], dtype=np.float32).reshape(-1, 3)
        height, width = desk.pictures.height, desk.pictures.width
        most = np.array([width - 1, height - 1], dtype=np.float32)
        points = np.clip(given[:, :2] - np.float32(0.5), 0, most)
        box = None
        if asked["box"] is not None:
            corners = np.array(asked["box"], dtype=np.float32) - np.float32(0.5)
            box = np.clip(corners, -0.5, np.concatenate([most, most]) + np.float32(0.5))
        start = asked.get("start")
        before = None
        if start is not None:
            before = np.zeros((height, width), dtype=np.bool_)
            paint(mask_from(start, width, height), before, True)
        with working(Power(threads=self._threads)):
            answer = looked.predict(
                points=points if len(points) else None,
                labels=given[:, 2].astype(np.int64) if len(points) else None,
                box=box,
                mask=before,
            )
        mask = encode(answer.mask)
        if mask is None:
            return {"mask": None, "score": 0.0}
        return {
            "mask": {
                "box": [mask.left, mask.top, mask.width, mask.height],
                "runs": runs_text(mask),
            },
            "score": round(float(answer.score), 4),
        }
