"""Promise: the owner of the queue finds jobs, selects many and acts on them, by mouse and keyboard.

In a real browser against the real server; what is done to many is looked up in the database.
"""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from jobs.models import Worker
from jobs.views import JobState, RunState
from tests.browser.stage import Site
from tests.browser.test_dashboard import Open, open_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
__all__ = ["open_page"]  # the fixture


def ids(page: sync_api.Page, box: str) -> list[str]:
    return page.locator(f"#cards-{box} > .card").evaluate_all(
        "cards => cards.map((card) => card.dataset.job)"
    )


def focused(page: sync_api.Page) -> str | None:
    return page.evaluate("document.activeElement.closest('.card')?.dataset.job ?? null")


def test_cards_show_a_picture_of_the_first_key_frame_and_nothing_jumps(open_page: Open) -> None:
    page = open_page()
    picture = page.locator("#job-264 img")
    expect(picture).to_have_attribute("alt", "First key frame of 264 with its masks")
    expect(picture).to_have_js_property("naturalWidth", 320)
    picture.scroll_into_view_if_needed()
    box = page.locator("#job-264 .picture").bounding_box()
    assert box is not None
    assert abs(box["width"] / box["height"] - 16 / 9) < 0.02
    empty = page.locator("#job-harbour-crane .picture").bounding_box()
    assert empty is not None
    assert empty["height"] == box["height"]
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + 9)
    expect(page.locator("h1")).to_have_text("264")


def test_the_picture_of_a_card_that_changes_stays_the_same_element(
    site: Site, open_page: Open
) -> None:
    page = open_page()
    page.locator("#job-271 img").evaluate("image => { image.dataset.mine = 'yes'; }")
    site.jobs.pause("271")
    expect(page.locator("#job-271")).to_contain_text("Paused")
    expect(page.locator("#job-271 img")).to_have_attribute("data-mine", "yes")


def test_boxes_labels_and_orders_are_chosen_without_reloading_and_stay_in_the_address(
    open_page: Open,
) -> None:
    page = open_page()
    page.evaluate("window.same = true")
    page.locator("#states").get_by_text("Completed").click()
    expect(page.locator("[data-box]:visible")).to_have_count(1)
    page.locator("#label").select_option("car")
    expect(page.locator(".card:visible")).to_have_count(2)
    page.locator("#sort").select_option("By name")
    expect(page.locator("#cards-completed .card").first).to_have_id("job-243")
    assert ids(page, "completed") == ["243", "251"]
    page.locator("#sort").select_option("Most to repair first")
    expect(page.locator("#cards-completed .card").first).to_have_id("job-251")
    assert page.url.endswith("&sort=repair")
    page.locator("#sort").select_option("By name")
    expect(page.locator("#cards-completed .card").first).to_have_id("job-243")
    page.locator("#sort").select_option("Most doubtful first")
    expect(page.locator("#cards-completed .card").first).to_have_id("job-251")
    assert page.evaluate("window.same")
    assert page.url.endswith("/?state=completed&label=car&sort=doubt")
    fix = page.locator("#job-251 .next a")
    expect(fix).to_have_text("Fix frame 23, job 251")
    expect(fix).to_have_attribute("href", "/jobs/251/panel#23")
    expect(page.locator("#job-251 .next")).to_contain_text("repairs about 6 masks")
    assert not page.locator("#job-breakdance .next").count(), "half a mask is not worth a look"
    page.reload()
    expect(page.locator("#label")).to_have_value("car")
    expect(page.locator("[data-box]:visible")).to_have_count(1)
    page.locator("#states").get_by_text("All").click()
    expect(page.locator("[data-box]:visible")).to_have_count(5)


def test_many_are_selected_by_shift_by_box_and_by_key(open_page: Open) -> None:
    page = open_page()
    bar = page.locator("#selection")
    expect(bar).to_be_hidden()
    ready = ids(page, "ready")
    page.locator(f"[data-pick='{ready[0]}']").check(force=True)
    page.locator(f"[data-pick='{ready[2]}']").click(modifiers=["Shift"], force=True)
    expect(bar).to_contain_text("3 selected")
    expect(page.locator("[data-pick-all=ready]")).to_be_checked()
    page.locator("[data-pick-all=queued]").check(force=True)
    expect(bar).to_contain_text("5 selected")
    expect(bar.get_by_role("button", name="Start…")).to_have_attribute("data-count", "3")
    expect(bar.get_by_role("button", name="Pause")).to_have_attribute("data-count", "2")
    page.locator(f"#job-{ready[1]} h3 a").focus()
    page.keyboard.press("x")
    expect(bar).to_contain_text("4 selected")
    expect(page.locator("[data-pick-all=ready]")).to_have_js_property("indeterminate", True)
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()


def test_a_selection_outlives_a_refresh_and_loses_what_is_gone(site: Site, open_page: Open) -> None:
    page = open_page()
    page.locator("[data-pick='264']").check(force=True)
    page.locator("[data-pick='271']").check(force=True)
    site.jobs.pause("271")
    expect(page.locator("#job-271")).to_contain_text("Paused")
    expect(page.locator("[data-pick='271']")).to_be_checked()
    site.jobs.delete_job("264")
    expect(page.locator("#selection")).to_contain_text("1 selected")
    expect(page.locator("#selection").get_by_role("button", name="Resume")).to_be_visible()


def test_many_are_started_with_the_same_options(site: Site, open_page: Open) -> None:
    page = open_page()
    page.locator("[data-pick-all=ready]").check(force=True)
    page.locator("[data-pick='harbour-crane']").check(force=True)
    page.locator("[data-many=start]").click()
    expect(page.locator("#start-title")).to_have_text("Start 3 jobs")
    expect(page.locator("[name=frames]")).to_be_hidden()
    plan = page.locator("#plan")
    expect(plan).to_contain_text("frames of 3 of 3 jobs")
    page.get_by_label("Engine").select_option("flow")
    page.get_by_label("Direction").select_option("forward")
    expect(plan).to_contain_text("frames of 3 of 3 jobs")
    page.locator("#start [type=submit]").click()
    expect(page.locator("#cards-queued .card")).to_have_count(5)
    expect(page.locator("#notes")).to_contain_text("3 jobs are queued.")
    for name in ("264", "lap-3-onboard", "crossing_north_cam2"):
        (run,) = site.jobs.job(name).runs
        assert (run.options.engine, run.options.direction.value) == ("flow", "forward")


def test_many_are_paused_resumed_cancelled_and_deleted_with_one_question(
    site: Site, open_page: Open
) -> None:
    page = open_page()

    def states() -> set[RunState]:
        return {site.jobs.job(name).runs[0].state for name in ("271", "warehouse-aisle-7")}

    for action, left in (
        ("pause", RunState.PAUSED), ("resume", RunState.QUEUED), ("cancel", RunState.CANCELLED)
    ):  # fmt: skip
        for name in ("271", "warehouse-aisle-7"):
            page.locator(f"[data-pick='{name}']").check(force=True)
        button = page.locator(f"[data-many={action}]")
        # Empty where all that are selected can: both cards show what became of them before.
        expect(button).to_have_attribute("data-count", "")
        button.click()
        expect(page.locator("#notes")).to_contain_text(re.compile("2 jobs"))
        page.locator(".note").get_by_label("Dismiss").first.click()
        assert states() == {left}
    expect(page.locator("#cards-failed .card")).to_have_count(4)
    for name in ("271", "warehouse-aisle-7"):
        page.locator(f"[data-pick='{name}']").check(force=True)
    page.locator("[data-many=delete]").click()
    expect(page.locator("#confirm")).to_contain_text("Delete these 2 jobs")
    page.locator("#confirm").get_by_text("Delete", exact=True).click()
    expect(page.locator("#cards-failed .card")).to_have_count(2)
    assert site.jobs.counts()["failed"] == 2


def test_cards_are_reached_and_used_by_keys_alone(site: Site, open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("j")
    ready = ids(page, "ready")
    assert focused(page) == ready[0]
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    assert focused(page) in ids(page, "queued")
    page.keyboard.press("ArrowUp")
    assert focused(page) == ids(page, "queued")[0]
    page.keyboard.press("p")
    expect(page.locator(f"#job-{ids(page, 'queued')[0]}")).to_contain_text("Paused")
    page.keyboard.press("k")
    assert focused(page) == ready[2]
    page.keyboard.press("s")
    expect(page.locator("#start")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    keys = page.locator("dialog.keys")
    expect(keys).to_contain_text("the nearest card that way")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.locator("#job-264 h3 a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("264")
    assert site.jobs.job("264").job.state is JobState.READY


def test_a_result_is_offered_in_every_form(open_page: Open) -> None:
    page = open_page()
    card = page.locator("#job-251")
    expect(card.locator(".doubt")).to_have_text("9 % of frames flagged")
    expect(page.locator("#job-breakdance .doubt")).to_have_text("No frame flagged")
    expect(page.locator("#job-243 .doubt")).to_have_count(0)
    card.locator(".menu summary").click()
    forms = card.locator(".menu a")
    expect(forms).to_have_count(5)
    for form, address in zip(
        ("cvat", "coco", "masks", "polygons", "overlay"),
        forms.evaluate_all("links => links.map((link) => link.getAttribute('href'))"),
        strict=True,
    ):
        assert address == f"/api/jobs/251/download?format={form}&run=1"
    page.keyboard.press("Escape")
    expect(forms.first).to_be_hidden()


def test_the_head_says_what_workers_do_and_how_the_server_is(site: Site, open_page: Open) -> None:
    page = open_page()
    head = page.locator("#workers")
    expect(head.locator("summary")).to_contain_text("4 workers")
    head.locator("summary").click()
    for said in (
        "job 259, frames 91 to 149", "GPU 31 GB of 85 GB · memory 3.2 GB", "cuda:0 on tracker-1",
        "2 queued, 2 in progress", "GB free",
    ):  # fmt: skip
        expect(head).to_contain_text(said)
    with site.jobs.database.write() as session:
        session.execute(update(Worker).where(Worker.name == "dora").values(doing="job 9"))
    expect(head).to_contain_text("job 9")
    expect(head.locator(".popover")).to_be_visible()


def test_the_start_form_says_which_engines_are_present_and_what_they_are_good_for(
    open_page: Open,
) -> None:
    page = open_page()
    page.locator("#job-264 [data-action=start]").click()
    engine, note = page.get_by_label("Engine"), page.locator("#engine-note")
    expect(note).to_contain_text("Takes the first choice for the worker's device")
    engine.select_option("deaot-r50-l")
    expect(note).to_contain_text("Good for most videos, on a GPU. Only anna, bert of 4 workers")
    engine.select_option("deaot-t")
    expect(note).to_contain_text("`relay models get deaot-t` brings its weights")
    expect(engine.locator("option:checked")).to_have_text("deaot-t (not present)")
    more = page.locator("#more-options")
    expect(more).not_to_have_attribute("open", "")
    more.locator("summary").click()
    key_frames = more.locator("[name=keyframes]")
    key_frames.select_option("partial")
    expect(more.locator("summary")).to_contain_text("1 changed")
    page.locator("#start [type=submit]").click()
    expect(page.locator("#cards-queued #job-264")).to_be_visible()
    page.locator("#job-lap-3-onboard [data-action=start]").click()
    expect(more).to_have_attribute("open", "")
    expect(key_frames).to_have_value("partial")


def test_a_page_that_slept_looks_again(site: Site, open_page: Open) -> None:
    """The clock goes on while timers stand still, and no event is heard."""
    page = open_page("/?search=no-such-job")
    page.clock.install()
    page.goto(site.url)
    expect(page.locator("#job-264 img")).to_have_js_property("naturalWidth", 320)
    page.evaluate("globalThis.io = undefined")
    site.jobs.delete_job("264")
    page.clock.fast_forward(3600_000)
    page.clock.resume()
    expect(page.locator("#job-264")).to_have_count(0)
