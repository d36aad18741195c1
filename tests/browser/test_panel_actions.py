"""Promise: what the panel offers beside stepping and drawing does by mouse and by keyboard what it
says, a person sees that it did, all of it can be taken back, and what is stored is just that:
objects are merged, split, begin and end; ranges of frames; a box; playing backward; beginning anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from demo.clip import make_clip
from tests.browser.installation import LAST, LONG, Site, middle, place, shows, stroke

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Open = Callable[..., "sync_api.Page"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("actions"))
    site.worker()
    yield site
    site.house.close()


def test_an_object_is_split_and_merged_again_and_no_arrow_merges(site: Site, enter: Open) -> None:
    job = site.tracked(4)
    before = {frame: site.mask(job, frame, 2) for frame in range(5)}
    page = enter(job, frame=2)
    rows = page.locator("#object-list [data-object]")
    count = rows.count()
    row(page, 2).locator(".object").click()
    page.get_by_role("button", name="Splits").click()
    expect(rows).to_have_count(count + 1)
    made = int(rows.last.get_attribute("data-object") or 0)
    expect(row(page, 2)).to_have_class("away")
    expect(chosen(page)).to_have_attribute("data-object", str(made))  # what is seen is at hand
    expect(page.locator("#said")).to_contain_text("From frame 2 on ball 2 is")
    for frame in range(5):
        now, other = (2, made) if frame < 2 else (made, 2)
        assert np.array_equal(site.mask(job, frame, now), before[frame])
        assert not site.mask(job, frame, other).any()
    page.get_by_role("button", name="Back", exact=True).click()
    shows(page, 1)
    expect(row(page, made)).to_have_class("away")

    into = page.locator("#object-form [name=into]")
    assert not any("box" in other for other in into.locator("option").all_inner_texts())
    into.focus()  # objects of one label become one
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    expect(into).to_have_value("2")
    page.keyboard.press("Tab")
    expect(rows).to_have_count(count + 1)  # nothing is merged before it is said
    page.keyboard.press("Enter")
    expect(rows).to_have_count(count)
    expect(chosen(page)).to_have_attribute("data-object", "2")
    expect(page.locator("#said")).to_contain_text("part of ball 2")
    for frame in range(5):
        assert np.array_equal(site.mask(job, frame, 2), before[frame])
    page.get_by_role("button", name="Undo").click()
    expect(rows).to_have_count(count + 1)
    assert site.objects(job, 4).count(made) == 1
    page.keyboard.press("Control+z")
    expect(rows).to_have_count(count)
    assert np.array_equal(site.mask(job, 4, 2), before[4])


def test_an_object_starts_and_ends_at_the_frame_that_is_seen(site: Site, enter: Open) -> None:
    job = site.tracked(5)
    before = {frame: site.mask(job, frame, 2) for frame in range(6)}
    others = {frame: set(site.objects(job, frame)) - {2} for frame in range(6)}
    page = enter(job, frame=3)
    row(page, 2).locator(".object").click()
    page.get_by_role("button", name="Ends").click()
    expect(page.locator("#said")).to_have_text("ball 2 ends at frame 3.")
    page.get_by_role("button", name="Forward").click()
    shows(page, 4)
    expect(row(page, 2)).to_have_class("away")
    page.keyboard.press("ArrowLeft")
    shows(page, 3)
    page.keyboard.press("ArrowLeft")
    shows(page, 2)
    page.get_by_role("button", name="Starts").press("Enter")
    # Where a person's own masks go, it is said.
    expect(page.locator("#said")).to_have_text(
        "ball 2 starts at frame 2. A mask that was drawn is gone from frame 0."
    )
    for frame in range(6):
        kept = before[frame] if frame in (2, 3) else np.zeros_like(before[frame])
        assert np.array_equal(site.mask(job, frame, 2), kept)
        assert set(site.objects(job, frame)) - {2} == others[frame]
    page.keyboard.press("Control+z")
    shows(page, 0)  # what was undone elsewhere is shown
    expect(row(page, 2)).not_to_have_class("away")
    page.keyboard.press("Control+z")
    shows(page, 4)
    expect(row(page, 2)).not_to_have_class("away")
    for frame in range(6):
        assert np.array_equal(site.mask(job, frame, 2), before[frame])


def test_a_range_of_frames_is_forgotten_computed_anew_and_marked_absent(
    site: Site, enter: Open
) -> None:
    job = site.tracked(6)
    before = {frame: site.mask(job, frame, 2) for frame in range(7)}
    page = enter(job, frame=2, quiet=False)  # a browser tells of every request that is refused
    row(page, 2).locator(".object").click()
    field = page.locator("#object-form [name=scope]")
    forget, absent = (page.get_by_role("button", name=name) for name in ("Forget", "Absent"))
    for wrong, sentence in (("all", "31 or 31-60"), ("5-3", "run backward"), ("90", "no frame")):
        field.fill(wrong)
        forget.click()
        expect(page.locator(".note.bad, #said").filter(has_text=sentence)).to_be_visible()
    assert all(np.array_equal(site.mask(job, frame, 2), before[frame]) for frame in range(7))

    field.fill("3-5")
    # Somebody else changes another object meanwhile: what is typed stays.
    rename = {"action": "rename", "object": 3, "name": "the third"}
    site.post(f"/api/jobs/{job}/session/objects", rename)
    page.keyboard.press("Tab")
    expect(row(page, 3).locator(".name")).to_contain_text("the third")
    expect(field).to_have_value("3-5")
    page.keyboard.press("Enter")  # on Forget
    expect(page.locator("#said")).to_contain_text("ball 2 on frames 3 to 5")
    for frame in range(7):
        assert (2 in site.objects(job, frame)) == (frame not in (3, 4, 5))
        assert {1, 3} <= set(site.objects(job, frame))
    page.get_by_role("button", name="Forward").click()
    shows(page, 3, "Computed")
    expect(row(page, 2)).not_to_have_class("away")
    assert np.array_equal(site.mask(job, 3, 2), before[3])

    field.fill("0-3")
    absent.click()
    expect(row(page, 2)).to_have_class("away")
    expect(page.locator("#said")).to_contain_text("ball 2 is absent on frames 0 to 3.")
    assert [frame for frame in range(7) if 2 in site.objects(job, frame)] == [6]
    page.get_by_role("button", name="Undo").click()
    expect(row(page, 2)).not_to_have_class("away")
    assert np.array_equal(site.mask(job, 0, 2), before[0])


def test_a_box_means_the_object_in_it(site: Site, enter: Open) -> None:
    job = site.tracked(1)
    rows, columns = np.nonzero(site.clip.frame(1)[1] == 2)
    corners = [(columns.min() - 3, rows.min() - 3), (columns.max() + 3, rows.max() + 3)]
    page = enter(job, frame=1)
    before = site.mask(job, 1, 2)
    row(page, 2).locator(".object").click()
    page.keyboard.press("b")
    stroke(page, *(place(page, site, *corner) for corner in corners))
    expect(page.locator("#pill-words")).to_have_text("1 box on ball 2", timeout=LONG)
    page.keyboard.press("Escape")
    expect(page.locator("#pill")).to_be_hidden()
    assert np.array_equal(site.mask(job, 1, 2), before)
    # From the other corner, and once more: the last box counts.
    stroke(page, place(page, site, 5, 5), place(page, site, 60, 40))
    stroke(page, *(place(page, site, *corner) for corner in reversed(corners)))
    expect(page.locator("#pill-words")).to_have_text("1 box on ball 2", timeout=LONG)
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#kind")).to_have_text("Key frame")
    expect(page.locator("#pill")).to_be_hidden()
    found, truth = site.mask(job, 1, 2), site.clip.frame(1)[1] == 2
    assert (found & truth).sum() / (found | truth).sum() > 0.7
    page.keyboard.press("Control+z")
    expect(page.locator("#kind")).to_have_text("Computed")
    assert np.array_equal(site.mask(job, 1, 2), before)


def test_it_plays_backward_and_computes_what_is_before_the_key_frame(
    site: Site, enter: Open
) -> None:
    job = site.job(6)
    page = enter(job)
    shows(page, 6, "Key frame")
    page.locator("#limit").fill("1")
    page.locator("#limit").blur()
    page.keyboard.down("Shift")
    page.keyboard.down(" ")
    page.keyboard.up("Shift")  # fingers are not lifted in one order
    page.keyboard.up(" ")
    expect(page.locator("#said")).to_have_text("Frame 0 is the first one.", timeout=LONG)
    shows(page, 0, "Computed")
    assert site.ask(f"/api/jobs/{job}/session")["computed"] == "0-6"
    truth = site.clip.frame(0)[1] == 2
    found = site.mask(job, 0, 2)
    assert (found & truth).sum() / (found | truth).sum() > 0.7
    page.keyboard.press("End")
    shows(page, LAST, "Not computed yet")
    page.get_by_role("button", name="Play backward").click()
    expect(page.locator("#said")).to_have_text("Frame 0 is the first one.", timeout=LONG)


def test_beginning_anew_takes_the_newest_revision_and_asks_before(site: Site, enter: Open) -> None:
    job = site.job(0)
    page, other = enter(job), enter(job)
    page.keyboard.press("1")
    page.keyboard.press("r")
    stroke(page, place(page, site, 20, 20), place(page, site, 60, 20))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    anew = make_clip(frames=LAST + 5, seed=4)  # other pictures, more of them
    assert site.receive(job, anew, (0, LAST + 2)) == job
    expect(page.locator("#hint")).to_contain_text("Revision 2 of the export arrived", timeout=LONG)
    button = page.get_by_role("button", name="Begin anew from it")
    button.press("Enter")
    expect(page.locator("#confirm")).to_contain_text("since the last Accept goes")
    page.keyboard.press("Enter")  # what has the focus keeps all
    expect(page.locator("#confirm")).to_be_hidden()
    assert site.mask(job, 0, 1)[20, 20:61].all()
    button.click()
    page.locator("#confirm").get_by_role("button", name="Begin anew").click()
    for each in (page, other):
        expect(each.locator("#hint")).to_be_hidden(timeout=LONG)
        expect(each.locator("#last")).to_have_text(f"/ {LAST + 4}", timeout=LONG)
        expect(each.locator("#panel[data-ready]")).to_be_attached(timeout=LONG)
        expect(each.get_by_role("button", name="Undo")).to_be_disabled()
        each.keyboard.press("]")
        shows(each, LAST + 2, "Key frame")
    assert not site.mask(job, 0, 1)[20, 20:61].any()


def test_one_finger_draws_and_clicks_and_two_move_the_picture(site: Site, enter: Open) -> None:
    job = site.tracked(1)
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = enter(job, frame=1, **phone)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    before = site.mask(job, 1, 2)
    row(page, 2).locator(".object").tap()
    page.locator("[data-tool=brush]").tap()
    left, right = place(page, site, 200, 12), place(page, site, 260, 12)
    lower = place(page, site, 200, 150)
    scale = "document.querySelector('.stage-canvas').classList.contains('zoomed')"
    assert not page.evaluate(scale)
    fingers("touchStart", left)
    fingers("touchMove", (left[0] + 8, left[1]))  # it draws already when the second one comes
    fingers("touchStart", (left[0] + 8, left[1]), lower)
    fingers("touchMove", (left[0] - 30, left[1]), (lower[0] + 60, lower[1] + 60))
    fingers("touchEnd")
    assert page.evaluate(scale)
    page.locator("[data-do=fit]").tap()
    assert np.array_equal(site.mask(job, 1, 2), before)
    fingers("touchStart", left)
    for step in range(1, 7):
        fingers("touchMove", (left[0] + step * (right[0] - left[0]) / 6, left[1]))
    fingers("touchEnd")
    expect(page.locator("#kind")).to_have_text("Key frame")
    drawn = site.mask(job, 1, 2)
    assert drawn[12, 200:261].all()
    assert np.array_equal(drawn & ~before, drawn ^ before)  # only added to
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator("#kind")).to_have_text("Computed")

    page.locator("[data-tool=points]").tap()
    page.touchscreen.tap(*place(page, site, *middle(site, 1, 2)))
    expect(page.locator("#pill-words")).to_contain_text("1 point on ball 2", timeout=LONG)
    page.get_by_role("button", name="Keep").tap()
    expect(page.locator("#kind")).to_have_text("Key frame")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def row(page: sync_api.Page, number: int) -> sync_api.Locator:
    """An object in the list."""
    return page.locator(f"#object-list [data-object='{number}']")


def chosen(page: sync_api.Page) -> sync_api.Locator:
    """The object in the list that is selected."""
    return page.locator("#object-list [data-object]:has(.object[aria-pressed='true'])")
