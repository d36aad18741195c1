"""Promise: the whole round in a real browser, with a real server, worker and broker, once by mouse
and once by keyboard alone: an export is handed over, started, watched, looked through, corrected,
accepted and downloaded, and the archive holds every human mask to the pixel.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvat_io.masks import encode_labels, same_pixels
from demo.sample import write_sample
from tests.browser.installation import LAST, LONG, Site, middle, place, shows
from tests.helpers.clips import masks_by_frame

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("round"))
    site.worker()
    yield site
    site.house.close()


@pytest.fixture
def page(site: Site, browser: Any) -> Iterator[sync_api.Page]:
    """The dashboard; in the end nothing was said on the console."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(site.url)
    yield page
    context.close()
    assert said == []


def test_by_mouse(site: Site, page: sync_api.Page, tmp_path: Path) -> None:
    drop(page, write(site, tmp_path / "mouse.zip"))
    page.locator("#cards-ready #job-mouse [data-action=start]").click()
    form = page.locator("#start")
    form.get_by_label("Engine", exact=False).first.select_option("flow")
    expect(form.locator("#plan")).to_contain_text(f"{LAST} frames")
    form.get_by_role("button", name="Start").click()
    card = page.locator("#cards-completed #job-mouse")
    expect(card).to_be_visible(timeout=LONG)  # by itself: nobody reloads
    card.locator("h3 a").click()
    expect(page.locator(".tag.completed")).to_be_visible()
    page.get_by_role("link", name="Frame by frame").click()
    expect(page.locator("#panel[data-ready]")).to_be_attached(timeout=LONG)
    page.get_by_role("button", name="Forward").click()
    shows(page, 1)
    page.locator("#object-list [data-object='2'] .object").click()
    page.locator("[data-tool=points]").click()
    page.mouse.click(*place(page, site, *middle(site, 1, 2)))
    expect(page.locator("#pill-words")).to_contain_text("1 point on", timeout=LONG)
    page.get_by_role("button", name="Keep").click()
    shows(page, 1, "Key frame")
    drawn = site.frame("mouse", 1)["masks"]
    page.locator("[data-do=accept]").click()
    page.locator("#accept").get_by_text("All frames").click()
    with page.expect_download(timeout=LONG) as coming:
        page.locator("#accept [value=accept]").click()
    coming.value.save_as(tmp_path / "result.zip")
    check(site, tmp_path / "result.zip", corrected=1, masks=len(drawn))


def test_by_keyboard(site: Site, page: sync_api.Page, tmp_path: Path) -> None:
    # The system's own window for choosing a file is all that is left out here.
    page.locator("#files").set_input_files(write(site, tmp_path / "keys.zip"))
    card = page.locator("#cards-ready #job-keys")
    expect(card).to_be_visible()
    card.locator("h3 a").focus()
    page.keyboard.press("s")
    expect(page.locator("#plan")).to_contain_text("Computes")
    page.locator("#start [name=engine]").focus()
    page.keyboard.type("flow")
    submit = page.locator("#start [type=submit]")
    expect(submit).to_be_enabled(timeout=LONG)
    submit.press("Enter")
    done = page.locator("#cards-completed #job-keys")
    expect(done).to_be_visible(timeout=LONG)
    done.locator("h3 a").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".tag.completed")).to_be_visible()
    page.get_by_role("link", name="Frame by frame").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel[data-ready]")).to_be_attached(timeout=LONG)
    page.keyboard.press("ArrowRight")
    shows(page, 1)
    page.keyboard.press("k")
    shows(page, 1, "Key frame")
    drawn = site.frame("keys", 1)["masks"]
    page.keyboard.press("a")
    page.locator("#accept [name=until]").fill(str(LAST))
    with page.expect_download(timeout=LONG) as coming:
        page.keyboard.press("Enter")
    coming.value.save_as(tmp_path / "result.zip")
    check(site, tmp_path / "result.zip", corrected=1, masks=len(drawn))


def write(site: Site, path: Path) -> Path:
    """An export with all masks of frame 0."""
    write_sample(path, site.clip)
    return path


def drop(page: sync_api.Page, path: Path) -> None:
    """Drop a file onto the page."""
    transfer = page.evaluate_handle(
        """([text, name]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          transfer.items.add(new File([bytes], name));
          return transfer;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name],
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


def check(site: Site, result: Path, *, corrected: int, masks: int) -> None:
    """All frames have masks, and the human ones are as they were drawn."""
    found = masks_by_frame(result)
    assert sorted(found) == list(range(LAST + 1))
    truth = encode_labels(site.clip.frame(0)[1])
    assert len(found[0]) == len(truth)
    assert all(any(same_pixels(shape.mask, true) for shape in found[0]) for true in truth.values())
    assert len(found[corrected]) == masks
