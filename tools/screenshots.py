"""Pictures of all pages, light and dark, on a desktop and on a phone: `make screenshots`.

Everything shown is real: a server, two workers and their broker as processes of their own, exports
of the sample clip with other textures, tracked by the engine `flow`. Pictures are written to
screenshots/; those of `IN_DOCS` to docs/images/ too, which the README shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
from playwright.sync_api import Browser, Page, expect

from bench.browser import open_browser
from bench.house import House
from cvat_io.build import write_export
from demo.clip import Clip, make_clip
from demo.sample import LABELS, exact_masks
from jobs import keyfile
from jobs.options import RunOptions
from jobs.views import RunState

ROOT = Path(__file__).resolve().parents[1]
FLOW = RunOptions(engine="flow")
SIZES = {"desktop": (1280, 720), "phone": (360, 740)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NUMBERS = {
    "harbour-north": "258",
    "crossing_cam2": "266",
    "lap-3-onboard": "269",
    "warehouse-7": "270",
    "drift-chicane": "272",
}
"""CVAT's own of jobs that have a name."""
IN_DOCS = {
    "dashboard-desktop-light": "dashboard.png",
    "job-desktop-light": "job.png",
    "panel-desktop-dark": "panel.png",
    "studio-desktop-light": "studio.png",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """A page to take a picture of. `ready`: brings it into the state that is shown."""

    name: str
    path: str
    ready: Callable[[Page], None]


def main() -> int:
    """Take all pictures; 2: no browser is installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "screenshots", metavar="DIR")
    parser.add_argument("--only", default="", metavar="PAGE", help="such as panel")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with (
            open_browser() as browser,
            tempfile.TemporaryDirectory(prefix="mask-relay-") as folder,
            _site(Path(folder)) as (house, url),
        ):
            for shot in _shots(house):
                if options.only in shot.name:
                    _take(browser, url, shot, options.out)
            if options.only in "sign-in":
                _take_sign_in(browser, house, options.out)
    except FileNotFoundError as exc:
        print(f"No pictures: {exc} (Debian: apt-get install chromium).", file=sys.stderr)
        return 2
    for name, target in IN_DOCS.items():
        if (options.out / f"{name}.png").exists():
            shutil.copy(options.out / f"{name}.png", ROOT / "docs" / "images" / target)
    return 0


def _take(browser: Browser, url: str, shot: Shot, out: Path) -> None:
    for device, (width, height) in SIZES.items():
        with _page(browser, width, height) as page:
            page.goto(url + shot.path)
            shot.ready(page)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.wait_for_timeout(300)
                path = out / f"{shot.name}-{device}-{scheme}.png"
                page.screenshot(path=path)
                print(path, flush=True)


def _take_sign_in(browser: Browser, house: House, out: Path) -> None:
    """The page that strangers see, from a second server that has a key."""
    keyfile.ensure(house.settings.data_dir / keyfile.AGENT_KEY)
    _, port = house.server()
    _take(browser, f"http://127.0.0.1:{port}", Shot("sign-in", "/sign-in", _settle), out)


@contextmanager
def _page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    is_phone = width < 500
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=2 if is_phone else 1,
        has_touch=is_phone,
        is_mobile=is_phone,
    )
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def _site(folder: Path) -> Iterator[tuple[House, str]]:
    """An installation with jobs in all five boxes."""
    sequences = folder / "sequences"
    _write_sequences(sequences)
    os.environ["SEQUENCES_PATH"] = str(sequences)
    with House(folder / "house", engine="flow") as house:
        house.workers("anna", "ben")
        _, port = house.server()
        for number, name in enumerate(("251", "harbour-north", "264")):
            export = _export(folder / f"{name}.zip", make_clip(60, 640, 360, number), (0, 30))
            house.submit(export, FLOW)
            house.wait_for_run(name, RunState.DONE, seconds=300)
        _correct(house, folder)
        house.receive(_export(folder / "crossing_cam2.zip", make_clip(48, 640, 360, 7), (0, 24)))
        house.receive(_export(folder / "lap-3-onboard.zip", make_clip(40, 640, 360, 8), (0,)))
        house.receive(_export(folder / "warehouse-7.zip", make_clip(20, 640, 360, 9), ()))
        paused = house.submit(_export(folder / "271.zip", make_clip(48, 640, 360, 10), (0,)), FLOW)
        house.jobs.pause(paused)
        house.submit(
            _export(folder / "drift-chicane.zip", make_clip(600, 640, 360, 11), (0, 150, 300, 450)),
            FLOW,
        )
        time.sleep(4)  # some frames of the last one are done by now
        yield house, f"http://127.0.0.1:{port}"


def _correct(house: House, folder: Path) -> None:
    """A re-segmentation of job 264 with one more frame drawn."""
    clip = make_clip(60, 640, 360, 2)
    house.receive(_export(folder / "264.zip", clip, (0, 30, 45)))
    house.jobs.start_run(
        "264",
        RunOptions(engine="flow", mode="resegment", reuse_previous=True),  # type: ignore[arg-type]
    )
    house.wait_for_run("264", RunState.DONE, seconds=300)


def _export(path: Path, clip: Clip, keys: tuple[int, ...]) -> Path:
    write_export(
        path,
        frames=((index, _encoded(image, ".png")) for index, (image, _) in enumerate(clip)),
        width=clip.width,
        height=clip.height,
        labels=LABELS,
        job_id=NUMBERS.get(path.stem, path.stem),
        masks=[shape for key in keys for shape in exact_masks(clip, key)],
        stop_frame=len(clip) - 1,
    )
    return path


def _write_sequences(folder: Path) -> None:
    for number, name in enumerate(("pick-and-place", "left-hand-cup", "drawer")):
        place = folder / name
        place.mkdir(parents=True)
        for index, (image, _) in enumerate(make_clip(24, 640, 360, 20 + number)):
            (place / f"{index:05d}.jpg").write_bytes(_encoded(image, ".jpg"))


def _encoded(image: object, ending: str) -> bytes:
    ok, data = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))  # type: ignore[call-overload]
    assert ok
    return bytes(data.tobytes())


def _shots(house: House) -> list[Shot]:
    return [
        Shot("dashboard", "/", _settle),
        Shot("start", "/", _open_start),
        Shot("job", "/jobs/264", _settle),
        Shot("panel", "/jobs/251/panel?frame=38", _alone),
        Shot("studio", "/studio", _settle),
    ]


def _settle(page: Page) -> None:
    page.wait_for_load_state("load")
    page.wait_for_timeout(2500)
    page.wait_for_function(
        "() => [...document.images].every("
        "(each) => each.complete || each.getBoundingClientRect().top > innerHeight)"
    )


def _alone(page: Page) -> None:
    """Wait until nobody else is there any more: who had the page before lingers for a while."""
    _settle(page)
    expect(page.locator("#people")).to_be_empty(timeout=120_000)


def _open_start(page: Page) -> None:
    _settle(page)
    page.locator("#job-lap-3-onboard [data-action=start]").click()
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    raise SystemExit(main())
