"""Promise: the browser draws the very pixels of a mask, where they are, at any zoom; what it reads
of masks and writes of them is what CVAT means; and its memory stays bounded.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from cvat_io.masks import encode
from cvat_io.runtext import format_rle

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 160, 90


class _Files(SimpleHTTPRequestHandler):
    """The project's modules, grey pictures, and a mask of two pixels on every frame."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if path == "/":
            return self._answer("text/html", b"<!doctype html><title>x</title><body></body>")
        if path.endswith("/masks"):
            first, last = int(query["from"][0]), int(query["to"][0])
            mask = {"object": 1, "label": "car", "box": [1, 2, 2, 1], "runs": "0,2"}
            frames = [{"frame": f, "key": f == 0, "masks": [mask]} for f in range(first, last + 1)]
            return self._answer("application/json", json.dumps({"frames": frames}).encode())
        if path.endswith(".jpg"):
            file = io.BytesIO()
            Image.new("RGB", (1920, 1080), "#808080").save(file, "JPEG")
            return self._answer("image/jpeg", file.getvalue())
        return super().do_GET()

    def _answer(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def files() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(ROOT)))
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def page(browser: Any, files: ThreadingHTTPServer) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{files.server_port}/")
    page.evaluate(
        """async () => {
          for (const name of ["masks", "images", "stage", "colours"])
            Object.assign(globalThis, await import(`/static/js/${name}.js`));
          globalThis.stageOf = (width, height, dpr = 1) => {
            const host = document.createElement("div");
            Object.assign(host.style, {position: "fixed", left: "0", top: "0",
                                       width: width + "px", height: height + "px"});
            document.body.replaceChildren(host);
            const stage = new Stage(host, {dragPans: true});
            stage.look({colours: new Map([[1, "#ff0000"], [2, "#0000ff"]]), opacity: 1});
            return stage;
          };
          globalThis.pixels = (stage) => {
            const {width, height} = stage.canvas;
            return [...stage.context.getImageData(0, 0, width, height).data];
          };
        }"""
    )
    yield page
    context.close()


def _random_mask(seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    random = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(5):
        top, left = random.integers(0, HEIGHT - 5), random.integers(0, WIDTH - 5)
        mask[top : top + random.integers(1, 40), left : left + random.integers(1, 70)] = True
    return mask & (random.random(mask.shape) > 0.1)


def _as_entry(*masks: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    found = []
    for number, mask in enumerate(masks, start=1):
        coded = encode(mask)
        assert coded is not None
        box = [coded.left, coded.top, coded.width, coded.height]
        runs = format_rle(coded.runs).replace(" ", "")
        found.append({"object": number, "label": "car", "box": box, "runs": runs})
    return {"frame": 0, "key": False, "masks": found}


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_read_and_written_as_cvat_means_them(page: Any, seed: int) -> None:
    mask = _random_mask(seed)
    entry = _as_entry(mask)["masks"][0]
    box, bits = page.evaluate(
        "m => { const d = decode(m); return [[d.left, d.top, d.width, d.height], [...d.bits]]; }",
        entry,
    )
    left, top, width, height = box
    whole = np.zeros_like(mask)
    whole[top : top + height, left : left + width] = np.reshape(bits, (height, width))
    assert (whole == mask).all()
    # From the bits of the whole picture comes the smallest box, in the very same text.
    written = page.evaluate(
        "([bits, w, h]) => encode(Uint8Array.from(bits), w, h)",
        [mask.astype(int).ravel().tolist(), WIDTH, HEIGHT],
    )
    assert written == {"box": entry["box"], "runs": entry["runs"]}
    assert page.evaluate("() => encode(new Uint8Array(12), 4, 3)") is None


@pytest.mark.parametrize("scale", [1, 3])
def test_every_pixel_of_a_mask_is_drawn_where_it_is(page: Any, scale: int) -> None:
    mask = _random_mask(7)
    shown = page.evaluate(
        """async ([entry, w, h, scale]) => {
          const stage = stageOf(w * scale, h * scale);
          stage.setSize(w, h);
          stage.look({outlines: false});
          stage.show(null, entry);
          await stage.drawn();
          return pixels(stage);
        }""",
        [_as_entry(mask), WIDTH, HEIGHT, scale],
    )
    image = np.reshape(shown, (HEIGHT * scale, WIDTH * scale, 4))
    red = (image[..., 0] == 255) & (image[..., 1] == 0)
    assert (red == mask.repeat(scale, 0).repeat(scale, 1)).all()


def test_outlines_are_drawn_inside_of_the_mask_and_the_middle_lets_the_picture_through(
    page: Any,
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:60, 30:100] = True
    mask[35:40, 50:60] = False  # a hole has an outline too
    shown = page.evaluate(
        """async ([entry, w, h]) => {
          const stage = stageOf(w, h);
          stage.setSize(w, h);
          stage.look({opacity: 0});
          stage.show(null, entry);
          await stage.drawn();
          return pixels(stage);
        }""",
        [_as_entry(mask), WIDTH, HEIGHT],
    )
    red = np.reshape(shown, (HEIGHT, WIDTH, 4))[..., 0] > 200
    inner = np.zeros_like(mask)
    inner[22:58, 32:98] = True
    inner[33:42, 50:60] = False  # two pixels above and below it, and two on each side
    inner[35:40, 48:62] = False
    assert not red[~mask].any()
    assert (red == (mask & ~inner)).all()


def test_hidden_objects_are_left_out_and_what_lies_on_top_is_seen(page: Any) -> None:
    below, above = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    below[10:50, 10:50] = True
    above[30:70, 30:70] = True
    look = """async ([entry, w, h, hidden]) => {
          const stage = stageOf(w, h);
          stage.setSize(w, h);
          stage.look({outlines: false, hidden: new Set(hidden)});
          stage.show(null, entry);
          await stage.drawn();
          const at = (x, y) => [...stage.context.getImageData(x, y, 1, 1).data].slice(0, 3);
          return [at(20, 20), at(40, 40), at(60, 60)];
        }"""
    entry = _as_entry(below, above)
    red, blue, ground = [255, 0, 0], [0, 0, 255], [27, 28, 27]
    assert page.evaluate(look, [entry, WIDTH, HEIGHT, []]) == [red, blue, blue]
    assert page.evaluate(look, [entry, WIDTH, HEIGHT, [2]]) == [red, red, ground]
    entry["masks"][0]["z"] = 1
    assert page.evaluate(look, [entry, WIDTH, HEIGHT, []]) == [red, red, blue]


def test_zoom_keeps_the_point_under_the_pointer_and_stays_when_frames_change(page: Any) -> None:
    result = page.evaluate(
        """async ([w, h]) => {
          const stage = stageOf(640, 400);
          stage.setSize(w, h);
          await stage.drawn();
          const before = stage.toFrame(200, 150);
          stage.zoomAt(4, 200, 150);
          const zoomed = stage.toFrame(200, 150), scale = stage.scale;
          stage.show(null, {frame: 1, key: false, masks: []});
          await stage.drawn();
          const after = stage.toFrame(200, 150);
          const back = stage.toClient(...after);
          stage.fit();
          return {before, zoomed, after, back, scale, fitted: stage.scale};
        }""",
        [WIDTH, HEIGHT],
    )
    assert result["zoomed"] == pytest.approx(result["before"])
    assert result["after"] == result["zoomed"]
    assert result["back"] == pytest.approx([200, 150])
    assert result["scale"] == pytest.approx(4 * result["fitted"])


def test_mouse_wheel_zooms_and_dragging_moves(page: Any) -> None:
    page.evaluate(
        """async ([w, h]) => {
          globalThis.stage = stageOf(640, 360);
          stage.setSize(w, h);
          await stage.drawn();
        }""",
        [WIDTH, HEIGHT],
    )
    page.mouse.move(320, 180)
    page.mouse.wheel(0, -600)
    page.wait_for_function("stage.scale > 5")
    x, y = page.evaluate("stage.toFrame(320, 180)")
    page.mouse.down(button="middle")
    page.mouse.move(300, 170)
    page.mouse.up(button="middle")
    assert page.evaluate("stage.toFrame(300, 170)") == pytest.approx([x, y])
    page.mouse.move(280, 170)  # nothing is pressed any more
    assert page.evaluate("stage.toFrame(300, 170)") == pytest.approx([x, y])


def test_two_layers_are_compared_side_by_side_and_by_a_wipe(page: Any) -> None:
    left, right = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    left[40:50, :] = True
    right[40:50, :] = True
    one, other = _as_entry(left), _as_entry(left, right)
    other["masks"] = other["masks"][1:]
    compare = """async ([one, other, w, h, mode]) => {
          globalThis.stage = stageOf(w * 2, h);
          stage.setSize(w, h);
          stage.look({outlines: false});
          stage.show(null, one);
          stage.compare({mode, entry: other, at: 0.5});
          await stage.drawn();
          const at = (x) => [...stage.context.getImageData(x, 45, 1, 1).data].slice(0, 3);
          return [at(90), at(230)];
        }"""
    for mode in ("side", "wipe"):
        shown = page.evaluate(compare, [one, other, WIDTH, HEIGHT, mode])
        assert shown == [[255, 0, 0], [0, 0, 255]], mode
    # The divider follows the mouse.
    page.mouse.move(WIDTH, 20)
    page.mouse.down()
    page.mouse.move(WIDTH + 60, 20)
    page.mouse.up()
    assert page.evaluate("stage.comparing.at") == pytest.approx((WIDTH + 60) / (2 * WIDTH))


def test_masks_are_fetched_some_frames_at_a_time_and_again_when_they_changed(
    page: Any, files: ThreadingHTTPServer
) -> None:
    asked = files.asked  # type: ignore[attr-defined]
    del asked[:]
    assert page.evaluate(
        """async () => {
          globalThis.store = new MaskStore("a b", "run-1", {first: 0, last: 99});
          const entries = await Promise.all([3, 4, 5].map((frame) => store.get(frame)));
          return entries.map((entry) => [entry.frame, entry.masks.length]);
        }"""
    ) == [[3, 1], [4, 1], [5, 1]]
    assert asked == ["/api/jobs/a%20b/layers/run-1/masks?from=0&to=15"]
    frame, before = page.evaluate(
        """async () => {
          const before = store.peek(4);
          store.invalidate("4-5");
          store.put({frame: 5, key: true, masks: []});
          return [(await store.get(4)).frame, before.frame];
        }"""
    )
    assert (frame, before) == (4, 4)
    assert asked[1:] == asked[:1]
    assert page.evaluate("store.peek(5).key"), "what was put in is newer than what was fetched"


def test_memory_of_pictures_and_masks_is_bounded(page: Any) -> None:
    result = page.evaluate(
        """async () => {
          const images = new ImageStore("a", 0, "", {first: 0, last: 999});
          const first = await images.get(0);
          for (let frame = 1; frame < 60; frame += 1) await images.get(frame);
          const masks = new MaskStore("a", "run-1", {first: 0, last: 9999});
          const long = "1,".repeat(100000);
          for (let frame = 0; frame < 300; frame += 1)
            masks.put({frame, key: false, masks: [{object: 1, box: [0, 0, 9, 9], runs: long}]});
          const result = {pixels: images.pixels, kept: images.bitmaps.size, closed: first.width,
                          characters: masks.characters, entries: masks.entries.size};
          images.close();
          return result;
        }"""
    )
    assert result["pixels"] <= 48 * 2**20
    assert 3 <= result["kept"] < 40
    assert result["closed"] == 0, "what is forgotten gives its memory back at once"
    assert result["characters"] <= 24 * 2**20
    assert result["entries"] < 150


def test_each_object_has_its_own_colour_and_keeps_it(page: Any) -> None:
    objects = [
        {"object": number, "color": "#3d9be0" if number % 2 else "#ff6a3d"}
        for number in range(1, 21)
    ]
    first = page.evaluate("objects => [...coloursOf(objects)]", objects)
    again = page.evaluate("objects => [...coloursOf(objects.reverse())]", objects)
    assert first == again
    assert dict(first)[1] == "#3d9be0"
    assert dict(first)[2] == "#ff6a3d"
    assert len({colour for _, colour in first}) == 20
