"""Promise: the pages work in a real browser, by keyboard too, and its console stays empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.options import RunOptions
from tests.browser import scene
from tests.browser.stage import Site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Open = Callable[..., "sync_api.Page"]


@pytest.fixture
def open_page(site: Site, browser: sync_api.Browser) -> Iterator[Open]:
    """Opens pages, and in the end sees to it that nothing was said on their consoles."""
    said: list[str] = []
    contexts = []

    def opened(path: str = "/", *, quiet: bool = True, **options: object) -> sync_api.Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("console", lambda message: said.append(f"{message.text} {message.location}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(site.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (820, 1180), (360, 740)])
def test_five_boxes_fit_every_window(open_page: Open, width: int, height: int, scheme: str) -> None:
    page = open_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    for box, jobs in (("ready", 3), ("queued", 2), ("running", 2), ("completed", 3), ("failed", 2)):
        expect(page.locator(f"#cards-{box} .card")).to_have_count(jobs)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(page.url + "jobs/259")
    expect(page.locator("h1")).to_have_text("259")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_change_shows_without_reloading_and_keeps_the_focus(site: Site, open_page: Open) -> None:
    page = open_page()
    page.locator("#job-264 [data-action=start]").focus()
    site.jobs.start_run("lap-3-onboard", RunOptions())
    expect(page.locator("#cards-queued #job-lap-3-onboard")).to_be_visible()
    expect(page.locator("#cards-ready .card")).to_have_count(2)
    expect(page.locator("#job-264 [data-action=start]")).to_be_focused()


def test_a_run_is_planned_and_started_by_keyboard_and_the_choice_is_remembered(
    open_page: Open,
) -> None:
    page = open_page()
    page.locator("#job-264 [data-action=start]").focus()
    page.keyboard.press("Enter")
    plan = page.locator("#plan")
    expect(plan).to_contain_text("116 frames in 4 spans")
    expect(page.locator("[name=mode][value=resegment]")).to_be_disabled()
    page.locator("[name=frames]").fill("500")
    expect(plan.locator(".reason")).to_contain_text("500")
    page.locator("[name=frames]").fill("1-10")
    expect(plan).to_contain_text("Computes 29 frames in 1 span: 1 to 29 from both sides.")
    page.get_by_label("Direction").select_option("forward")
    page.locator("[name=frames]").press("Enter")
    expect(page.locator("#start")).to_be_hidden()
    expect(page.locator("#cards-queued #job-264")).to_be_visible()

    page.locator("#job-lap-3-onboard [data-action=start]").click()
    expect(page.get_by_label("Direction")).to_have_value("forward")
    expect(page.locator("[name=frames]")).to_have_value("")
    page.keyboard.press("Escape")
    expect(page.locator("#start")).to_be_hidden()


def test_only_what_can_be_computed_can_be_started(
    site: Site, open_page: Open, tmp_path: Path
) -> None:
    with scene.export(tmp_path / "drawn.zip", (scene.CAR,), range(10), 9).open("rb") as stream:
        site.jobs.receive("drawn.zip", stream)
    page = open_page()
    start = page.locator("#start [type=submit]")
    page.locator("#job-drawn [data-action=start]").click()
    expect(page.locator("#plan")).to_contain_text("Nothing to compute")
    expect(start).to_be_disabled()
    page.keyboard.press("Escape")

    page.locator("#job-264 [data-action=start]").click()
    expect(start).to_be_enabled()
    frames = page.locator("[name=frames]")
    frames.fill("abc")
    frames.press("Enter")  # before the plan could say anything
    expect(page.locator("#plan .reason")).to_contain_text("abc")
    expect(start).to_be_disabled()
    frames.press("Enter")
    frames.fill("")
    expect(start).to_be_enabled()
    expect(page.locator("#cards-ready #job-264")).to_have_count(1)
    assert site.jobs.job("264").runs == ()


def test_the_start_form_says_what_frames_mean_in_each_mode(open_page: Open) -> None:
    page = open_page()
    page.locator("#job-251 [data-action=start]").click()
    expect(page.locator("#start-title")).to_have_text("Run 251 again")
    page.locator("#start").get_by_text("Initial segmentation").click()
    expect(page.locator("[data-mode=initial]")).to_be_visible()
    expect(page.locator("[data-mode=resegment]")).to_be_hidden()
    page.locator("#start").get_by_text("Re-segmentation").click()
    expect(page.locator("[data-mode=initial]")).to_be_hidden()
    expect(page.locator("[data-mode=resegment]")).to_contain_text("in addition to")
    page.keyboard.press("Escape")
    page.locator("#job-264 [data-action=start]").click()
    expect(page.locator("#start-title")).to_have_text("Start 264")


def test_on_a_phone_the_plan_is_in_sight_with_the_buttons(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    page.locator("#job-264 [data-action=start]").click()
    plan = page.locator("#plan")
    expect(plan).to_contain_text("Computes")
    expect(plan).to_be_in_viewport(ratio=1)
    expect(page.locator("#start [type=submit]")).to_be_in_viewport(ratio=1)


def test_a_run_is_cancelled_and_retried(open_page: Open) -> None:
    page = open_page()
    page.locator("#job-271 [data-action=cancel]").click()
    card = page.locator("#cards-failed #job-271")
    expect(card).to_be_visible()
    card.locator("[data-action=retry]").click()
    expect(page.locator("#cards-queued #job-271")).to_be_visible()


def test_a_job_is_deleted_only_after_asking(open_page: Open) -> None:
    page = open_page()
    page.locator("#job-243 [data-action=delete]").click()
    page.locator("#confirm").get_by_text("Keep").click()
    expect(page.locator("#confirm")).to_be_hidden()
    page.locator("#job-243 [data-action=delete]").click()
    page.locator("#confirm").get_by_text("Delete", exact=True).click()
    expect(page.locator("#job-243")).to_have_count(0)


def test_files_are_uploaded_with_their_progress_and_refusals_are_said_in_words(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page(quiet=False)  # a refused upload is a 400, which Chromium itself logs
    good = scene.export(tmp_path / "new one.zip", (scene.CAR,), (0, 5), 9)
    bad = tmp_path / "holiday.zip"
    bad.write_bytes(b"no archive")
    text = tmp_path / "notes.txt"
    text.write_text("x")
    page.locator("#files").set_input_files([good, bad, text])
    expect(page.locator("#cards-ready").get_by_role("link", name="new one")).to_be_visible()
    expect(page.locator("#uploads .reason")).to_contain_text("holiday.zip is no export")
    expect(page.locator(".note.bad")).to_contain_text("notes.txt is neither")
    page.locator("#uploads").get_by_text("Dismiss").click()
    expect(page.locator("#uploads li")).to_have_count(0)


def test_a_refused_export_is_explained_once_and_can_be_uploaded_again(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page()
    path = scene.export(tmp_path / "empty.zip", (scene.CAR,), (), 9)
    page.locator("#files").set_input_files(path)
    card = page.locator("#cards-failed #job-empty")
    expect(card).to_be_visible()
    expect(page.locator("#uploads li")).to_have_count(0)
    reason = card.locator(".reason").inner_text()
    expect(page.locator("#notes, #uploads").get_by_text(reason)).to_have_count(0)
    expect(page.locator("#notes")).to_contain_text("empty.zip cannot be tracked")

    scene.export(path, (scene.CAR,), (0, 5), 9)
    with page.expect_file_chooser() as chooser:
        card.get_by_text("Upload again").click()
    chooser.value.set_files(path)
    expect(page.locator("#cards-ready #job-empty")).to_be_visible()


def test_files_dropped_anywhere_are_uploaded(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    content = scene.export(tmp_path / "x.zip", (scene.CAR,), (0, 5), 9).read_bytes()
    transfer = page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.zip"));
          return transfer;
        }""",
        list(content),
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#cards-ready #job-dropped")).to_be_visible()


def test_a_search_narrows_the_boxes_while_typing(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("cross")
    expect(page.locator(".card")).to_have_count(1)
    assert page.url.endswith("?search=cross")
    page.reload()
    expect(page.locator("#search")).to_have_value("cross")
    expect(page.locator(".card")).to_have_count(1)


def test_a_lost_connection_shows_itself_and_the_page_catches_up(
    site: Site, open_page: Open
) -> None:
    page = open_page(quiet=False)  # Chromium itself logs every failed request
    link = page.locator("#link")
    expect(link).to_be_hidden()
    site.away()
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(link).to_have_text(re.compile("Connection lost"))
    site.jobs.delete_job("264")
    site.back()
    expect(page.locator("#job-264")).to_have_count(0, timeout=15_000)
    expect(link).to_be_hidden(timeout=15_000)


def test_without_the_live_client_the_page_asks_by_itself(
    site: Site, open_page: Open, tmp_path: Path
) -> None:
    static = tmp_path / "static"
    static.mkdir()
    for name in ("js", "css", "favicon.svg"):
        (static / name).symlink_to(Path(site.app.static_folder) / name)
    site.app.static_folder = str(static)
    page = open_page()
    assert page.evaluate("typeof io") == "undefined"
    site.jobs.delete_job("264")
    expect(page.locator("#job-264")).to_have_count(0, timeout=15_000)


def test_the_page_can_be_read_without_javascript(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.locator("#job-259")).to_contain_text("135 / 176")
    expect(page.locator(".board button:visible, .selection:visible")).to_have_count(0)
    page.locator("#label").select_option("bicycle")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".card")).to_have_count(1)
    page.goto(page.url.partition("?")[0])
    page.locator("#job-259 h3 a").click()
    expect(page.locator("h1")).to_have_text("259")


def test_the_job_page_follows_its_job_and_leaves_when_it_is_deleted(
    site: Site, open_page: Open
) -> None:
    # Pictures on their way when the job goes are answered 404, which Chromium itself logs.
    page = open_page("/jobs/271", quiet=False)
    expect(page.locator(".tag")).to_have_text("Queued")
    site.jobs.cancel("271")
    expect(page.locator(".tag")).to_have_text("Failed")
    page.locator("[data-action=delete]").click()
    expect(page.locator("#confirm")).to_contain_text("archive in the downloads folder stays")
    page.locator("#confirm").get_by_text("Delete", exact=True).click()
    expect(page.locator("#cards-ready")).to_be_visible()

    page = open_page("/jobs/264", quiet=False)
    expect(page.locator("#log time").first).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    stage = page.locator(".stage-canvas")
    expect(stage).to_have_attribute("aria-label", re.compile("Frame 0: car"))
    page.wait_for_load_state("networkidle")  # the pictures that come next are there
    site.jobs.delete_job("264")  # by somebody else: no error of this page
    expect(page.locator("#cards-ready")).to_be_visible()


def test_everything_that_can_be_pressed_has_a_name(open_page: Open) -> None:
    page = open_page()
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, a, input:not([hidden]), select, summary")]
           .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim()
                            || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []
