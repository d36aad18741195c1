"""Promise: in a browser a video becomes saved masks: opened, drawn on, tracked, saved, reset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from config import Settings
from tests.browser.stage import Site
from tests.helpers.sequences import image_bytes, make_folder, make_video, zip_of
from tests.worker.loops import a_loop, running

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect

WIDTH, HEIGHT = 160, 120


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        sequences_path=tmp_path / "sequences",
        results_path=tmp_path / "results",
        engine="flow",
    )


@pytest.fixture
def studio(settings: Settings, browser: Any) -> Iterator[Site]:
    make_video(settings.sequences_path / "clip.mp4", 12, WIDTH, HEIGHT)
    make_folder(settings.sequences_path / "hand", 6)
    site = Site(settings.data_dir.parent, settings)
    yield site
    site.close()


@pytest.fixture
def page(studio: Site, browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def test_a_video_is_opened_drawn_on_saved_and_reset(
    page: Any, studio: Site, settings: Settings
) -> None:
    draw_on(page, studio, "Open clip.mp4", frame=0)
    tools = page.get_by_role("region", name="Studio")
    expect(tools.get_by_label("To")).to_have_value("11")
    tools.get_by_label("To").fill("3")
    tools.get_by_role("button", name="Save component").click()
    expect(page.locator("#studio-said")).to_contain_text("4 pictures are in")
    expect(page.locator("#studio-said")).to_contain_text("frames 1-3 are not tracked yet")
    folder = settings.results_path / "clip.mp4"
    assert sorted(path.name for path in (folder / "left").iterdir()) == [
        f"{number:05d}.png" for number in range(4)
    ]
    with Image.open(folder / "left" / "00000.png") as image:
        assert image.size == (WIDTH, HEIGHT)
        pixels = np.asarray(image)
    assert set(np.unique(pixels)) == {0, 255}
    assert pixels[HEIGHT // 2, WIDTH // 2] == 255
    with Image.open(folder / "combined" / "00000.png") as image:
        assert np.array_equal(np.asarray(image) == 1, pixels == 255)

    page.reload()  # what is saved is found again
    page.locator("#panel[data-ready]").wait_for()
    saved = page.get_by_role("list", name="Saved components")
    expect(saved.get_by_role("listitem")).to_contain_text("left 0–3")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    assert download.value.suggested_filename == "clip.mp4_components.zip"
    saved.get_by_role("button", name="Reset left").click()
    expect(saved.get_by_role("listitem")).to_have_count(0)
    assert not (folder / "left").exists()


def test_what_is_submitted_is_tracked_both_ways_and_saved_whole(
    page: Any, studio: Site, settings: Settings
) -> None:
    with running(a_loop(replace(settings, threads=1), studio.jobs.database)):
        draw_on(page, studio, "Open clip.mp4")
        tools = page.get_by_role("region", name="Studio")
        tools.get_by_role("button", name="Submit").click()
        expect(page.locator("#studio-said")).to_contain_text(
            "Frames 0 to 11 are tracked", timeout=60_000
        )
        tools.get_by_role("button", name="Save component").click()
        expect(page.locator("#studio-said")).to_contain_text("12 pictures are in")
    assert "not tracked" not in page.locator("#studio-said").inner_text()
    assert len(list((settings.results_path / "clip.mp4" / "left").iterdir())) == 12


def draw_on(page: Any, studio: Site, button: str, frame: int = 5) -> None:
    """Open a sequence, add an object and draw it with the brush in the middle of a frame."""
    page.goto(f"{studio.url}/studio")
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/panel**")
    page.locator("#panel[data-ready]").wait_for()
    page.locator("#frame").fill(str(frame))
    page.keyboard.press("Enter")
    expect(page.locator("#frame")).to_have_value(str(frame))
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#add-object").get_by_label("Label").select_option("left")
    page.locator("#add-object").get_by_role("button", name="Add").click()
    component = page.get_by_role("region", name="Studio").get_by_role("combobox", name="Component")
    expect(component).to_have_value("left")
    page.keyboard.press("r")
    box = page.locator("#stage canvas").bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 40, down)
    page.mouse.down()
    page.mouse.move(across + 40, down, steps=8)
    page.mouse.up()


def test_a_range_that_is_none_is_said_and_nothing_is_asked(page: Any, studio: Site) -> None:
    page.goto(f"{studio.url}/studio")
    page.get_by_role("button", name="Open hand").click()
    page.wait_for_url("**/panel**")
    page.locator("#panel[data-ready]").wait_for()
    tools = page.get_by_role("region", name="Studio")
    tools.get_by_label("From").fill("4")
    tools.get_by_label("To").fill("2")
    tools.get_by_role("button", name="Save component").click()
    expect(page.locator("#notes")).to_contain_text("give frames from 0 to 5")


def test_files_are_uploaded_and_the_search_finds_them(page: Any, studio: Site) -> None:
    page.goto(f"{studio.url}/studio")
    page.locator("#picked").set_input_files(
        [
            {"name": "left frames.zip", "mimeType": "application/zip",
             "buffer": zip_of({"1.png": image_bytes(1), "2.png": image_bytes(2)})},
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"},
            {"name": "broken.mp4", "mimeType": "video/mp4", "buffer": b"no video"},
        ]
    )  # fmt: skip
    expect(page.locator("#notes")).to_contain_text("notes.txt is neither a video nor a zip")
    card = page.locator("[data-sequence='left frames']")
    expect(card).to_contain_text("2 frames")
    broken = page.locator("[data-sequence='broken.mp4']")
    expect(broken).to_contain_text("cannot be opened as a video")
    broken.get_by_role("button", name="Dismiss broken.mp4").click()
    expect(broken).to_have_count(0)
    page.get_by_role("searchbox").fill("left fr")
    expect(page.locator(".sequence")).to_have_count(1)
    expect(card).to_be_visible()
