"""Promise: frame by frame in a real browser, with a real server, worker and broker: step, mend a
mask by mouse or by keyboard, go on from there, accept and download; what was drawn is never lost
nor altered, and is there on every other browser too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvat_io.masks import encode_labels, same_pixels
from jobs import session_accept
from tests.browser.installation import LAST, LONG, Site, middle, place, shows, stroke
from tests.helpers.clips import masks_by_frame

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Open = Callable[..., "sync_api.Page"]
STOPPED = re.compile(r"Stopped at frame (\d+): .+ has drifted \(0\.\d\d\): .+\.")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("panel"))
    yield site
    site.house.close()


def test_without_a_worker_it_says_so_and_steps_once_one_comes(site: Site, enter: Open) -> None:
    """First of all: the others leave a worker running."""
    page = enter(site.job())
    shows(page, 0, "Key frame")
    expect(page.locator("#hint")).to_contain_text("./start_worker.sh")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".note.bad")).to_contain_text("No worker is running")
    shows(page, 0)
    site.worker()
    expect(page.locator("#hint")).to_be_hidden(timeout=LONG)
    page.keyboard.press("ArrowRight")
    shows(page, 1, "Computed")


def test_the_round_by_keyboard(site: Site, enter: Open, tmp_path: Path) -> None:
    """Step, jump, copy, take back, play until divergence, accept, download, look into it."""
    site.worker()
    job = site.job()
    page = enter(job)
    for frame in (1, 2):
        page.keyboard.press("ArrowRight")
        shows(page, frame, "Computed")
    page.keyboard.press("k")
    expect(page.locator("#kind")).to_have_text("Key frame")
    drawn = site.frame(job, 2)["masks"]
    page.keyboard.press("g")
    page.keyboard.type("99")
    page.keyboard.press("Enter")
    expect(page.locator(".note.bad")).to_contain_text("this job has frames 0 to 15")
    page.locator("#frame").fill("4")
    page.keyboard.press("Enter")
    shows(page, 4, "Not computed yet")
    page.locator("[data-do=reach]").press("Enter")
    expect(page.locator("[data-do=stop]")).to_be_visible()
    expect(page.locator("[data-do=stop]")).to_be_hidden(timeout=LONG)
    shows(page, 4, "Computed")
    page.keyboard.press("c")
    expect(page.locator("#kind")).to_have_text("Key frame")
    page.keyboard.press("Control+z")
    expect(page.locator("#kind")).to_have_text("Computed")

    page.locator("#limit").fill("0.05")
    page.locator("#limit").blur()
    page.keyboard.press(" ")
    expect(page.locator("#said")).to_have_text(STOPPED, timeout=LONG)
    at = int(STOPPED.search(page.locator("#said").inner_text())[1])  # type: ignore[index]
    shows(page, at)
    assert max(mask["score"] for mask in site.frame(job, at)["masks"]) >= 0.05

    page.keyboard.press("a")
    page.locator("#accept [name=until]").fill("3")
    with page.expect_download(timeout=LONG) as coming:
        page.keyboard.press("Enter")
    result = tmp_path / "result.zip"
    coming.value.save_as(result)
    masks = masks_by_frame(result)
    assert sorted(masks) == [0, 1, 2, 3]
    truth = encode_labels(site.clip.frame(0)[1])
    assert len(masks[0]) == len(truth)
    assert all(any(same_pixels(shape.mask, true) for shape in masks[0]) for true in truth.values())
    assert len(masks[2]) == len(drawn)
    expect(page.locator(".note")).to_contain_text(["Accepted as run 1"])
    page.goto(f"{site.url}/jobs/{job}")
    expect(page.locator(".tag.completed")).to_be_visible()


def test_accepting_is_asked_for_once_and_says_what_goes_on(site: Site, enter: Open) -> None:
    job = site.job()
    page = enter(job, quiet=False)  # a browser tells of what was refused
    asked: list[Any] = []
    page.route("**/session/accept", lambda route: asked.append(route))  # on a slow line
    opener, dialog = page.locator("[data-do=accept]"), page.locator("#accept")
    page.keyboard.press("a")
    dialog.get_by_label("All frames").check()
    dialog.get_by_label("Download it now").uncheck()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Accepting…")).to_be_disabled()
    expect(dialog.get_by_role("status")).to_contain_text("is being written")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_disabled()
    expect(opener).to_have_text("Accepting…")
    page.keyboard.press("a")
    expect(dialog).to_be_hidden()
    with session_accept.alone(site.house.jobs.files, job):  # as somebody else does
        asked.pop().continue_()
        expect(page.locator(".note.bad")).to_contain_text("being accepted just now: wait a moment")
    assert asked == []
    page.unroute("**/session/accept")
    opener.click()
    expect(dialog.get_by_role("button", name="Accept")).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.locator(".note").last).to_contain_text("Accepted as run 1")


def test_the_round_by_mouse(site: Site, enter: Open) -> None:
    """Step, mend by a click, keep, go on from there, take back."""
    site.worker()
    job = site.job()
    page = enter(job)
    page.get_by_role("button", name="Forward").click()
    shows(page, 1, "Computed")
    page.get_by_role("button", name="Forward").click()
    shows(page, 2, "Computed")
    page.get_by_role("button", name="Back", exact=True).click()
    shows(page, 1, "Computed")
    before = site.mask(job, 1, 2)
    page.locator("#object-list [data-object='2'] .object").click()
    page.locator("[data-tool=points]").click()
    page.mouse.click(*place(page, site, *middle(site, 1, 2)))
    expect(page.locator("#pill-words")).to_contain_text("1 point on", timeout=LONG)
    assert np.array_equal(site.mask(job, 1, 2), before)  # nothing is saved yet
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#pill")).to_be_hidden()
    page.mouse.click(*place(page, site, *middle(site, 1, 2)))
    page.locator("#anew input").check()
    expect(page.locator("#pill-words")).to_contain_text("1 point on", timeout=LONG)
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#kind")).to_have_text("Key frame")
    mended = site.mask(job, 1, 2)
    assert mended[middle(site, 1, 2)[::-1]]

    page.get_by_role("button", name="Forward").click()
    shows(page, 2)
    expect(page.locator("#kind")).to_have_text("Computed")  # and so it follows the correction
    assert np.array_equal(site.mask(job, 1, 2), mended)
    page.get_by_role("button", name="Undo").click()
    shows(page, 1)
    expect(page.locator("#kind")).to_have_text("Computed")
    assert np.array_equal(site.mask(job, 1, 2), before)


def test_a_stroke_sets_the_very_pixels_and_survives_a_reload_and_another_browser(
    site: Site, enter: Open
) -> None:
    job = site.job()
    page = enter(job)
    before = site.mask(job, 0, 1)
    y, x = (int(each) for each in np.argwhere(site.clip.frame(0)[1] == 0)[-1] - (20, 20))
    page.keyboard.press("1")
    page.keyboard.press("r")
    stroke(page, place(page, site, x - 30, y), place(page, site, x, y))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    drawn = site.mask(job, 0, 1)
    assert drawn[y, x]
    assert drawn[y, x - 30]
    assert np.array_equal(drawn & ~before, drawn ^ before)  # only added to
    radius = int(page.locator("#radius").inner_text())
    assert abs(int(drawn[:, x - 15].sum()) - 2 * radius) <= 1

    page.keyboard.press("e")
    page.keyboard.press("e")
    stroke(page, place(page, site, x - 30, y), place(page, site, x, y))
    expect(page.locator("#object-list [data-object='1']")).to_be_visible()
    page.wait_for_function(
        "job => fetch(`/api/jobs/${job}/session`).then(r => r.json()).then(s => s.version >= 2)",
        arg=job,
    )
    page.reload()
    expect(page.locator("#panel[data-ready]")).to_be_attached(timeout=LONG)
    shows(page, 0, "Key frame")
    kept = site.mask(job, 0, 1)
    assert not kept[y, x - 15]
    other = enter(job)
    shows(other, 0, "Key frame")
    other.get_by_role("button", name="Undo").click()


def test_a_stroke_that_cannot_be_saved_waits_until_it_can(site: Site, enter: Open) -> None:
    job = site.job()
    page = enter(job, quiet=False)  # a browser tells of a server that is away
    page.keyboard.press("1")
    page.keyboard.press("r")
    expect(page.locator("#size")).to_be_visible()
    site.away()
    stroke(page, place(page, site, 20, 20), place(page, site, 60, 20))
    expect(page.locator("#pill-words")).to_contain_text("not saved yet")
    expect(page.locator(".note.bad")).to_contain_text("cannot be reached")
    expect(page.locator("#link")).to_be_visible()
    page.keyboard.press("ArrowRight")
    shows(page, 0)
    site.back()
    expect(page.locator("#link")).to_be_hidden(timeout=LONG)
    page.keyboard.press("Enter")
    expect(page.locator("#pill")).to_be_hidden()
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    assert site.mask(job, 0, 1)[20, 20:61].all()


def test_two_people_see_each_other_and_what_each_does(site: Site, enter: Open) -> None:
    site.worker()
    job = site.job()
    one, two = enter(job), enter(job)
    expect(one.locator("#people")).to_contain_text("here too")
    expect(two.locator("#people")).to_contain_text("here too")
    one.keyboard.press("ArrowRight")
    shows(one, 1, "Computed")
    two.keyboard.press("g")
    two.keyboard.type("1")
    two.keyboard.press("Enter")
    shows(two, 1, "Computed")
    gone = two.locator("#object-list [data-object='3'].away")
    expect(gone).to_have_count(0)
    one.keyboard.press("3")
    one.keyboard.press("Delete")
    expect(gone).to_have_count(1)
    expect(two.locator("#kind")).to_have_text("Key frame")
    one.locator("#object-form [name=name]").fill("the third")
    one.keyboard.press("Enter")
    expect(two.locator("#object-list [data-object='3'] .name")).to_contain_text("the third")


def test_holding_the_key_runs_and_stops_when_it_is_let_go(site: Site, enter: Open) -> None:
    site.worker()
    job = site.job()
    page = enter(job)
    page.keyboard.down("ArrowRight")
    for _ in range(400):
        page.keyboard.down("ArrowRight")  # as a held key repeats
        if int(page.locator("#frame").input_value()) >= 5:
            break
        page.wait_for_timeout(50)
    page.keyboard.up("ArrowRight")
    reached = int(page.locator("#frame").input_value())
    page.wait_for_timeout(3000)
    assert 5 <= int(page.locator("#frame").input_value()) <= reached + 1 < LAST
    known = site.ask(f"/api/jobs/{job}/session")["computed"]
    assert known in (f"0-{reached}", f"0-{reached + 1}")


def test_objects_are_added_drawn_and_given_names(site: Site, enter: Open) -> None:
    job = site.job()
    page = enter(job)
    objects = page.locator("#object-list [data-object]")
    count = objects.count()
    page.locator("#add").click()
    page.locator("#add-object [name=name]").fill("<b>hostile</b>")
    page.keyboard.press("Enter")
    expect(objects).to_have_count(count + 1)
    expect(objects.last.locator(".name")).to_contain_text("<b>hostile</b>")
    number = int(objects.last.get_attribute("data-object") or 0)
    page.keyboard.press("l")
    corners = [place(page, site, x, y) for x, y in ((200, 10), (240, 10), (240, 40), (200, 40))]
    stroke(page, *corners)
    expect(page.locator(f"#object-list [data-object='{number}'].away")).to_have_count(0)
    assert abs(int(site.mask(job, 0, number).sum()) - 40 * 30) < 120


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1280, 720, "light"), (820, 1180, "dark"), (360, 740, "dark")],
)
def test_it_fits_every_window(
    site: Site, enter: Open, width: int, height: int, scheme: str
) -> None:
    page = enter(site.job(), viewport={"width": width, "height": height}, color_scheme=scheme)
    expect(page.locator("#stage canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.get_by_role("button", name="Forward")).to_be_in_viewport()
    expect(page.locator("#stage canvas")).to_have_attribute(
        "aria-label", re.compile("Frame 0, key")
    )
