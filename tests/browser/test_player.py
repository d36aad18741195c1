"""Promise: on the job page every frame is seen with its masks, by mouse and by keyboard; the
timeline and the list of worst frames lead to what needs a correction; two results are compared;
ranges are changed in the session; what is published while the page is open shows itself; and the
browser's console stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from cvat_io.build import write_export
from cvat_io.model import Label
from demo.clip import make_clip
from demo.sample import LABELS, exact_masks
from jobs import keyfile
from jobs.options import Mode, RunOptions
from jobs.views import Role
from tests.browser.stage import Site
from web.context import KEY
from worker.heartbeat import Identity
from worker.loop import SpanLoop

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Open = Callable[..., "sync_api.Page"]
LAST = 23
HOSTILE = '<img src=x onerror="window.harmed=1">'


def _export(path: Path, keys: tuple[int, ...], *, gone: int = -1, name: str = "ball") -> Path:
    """A clip of 24 frames with exact masks on `keys`. `gone`: the frame without an image.

    `name`: of the label that is called "ball" otherwise.
    """
    clip = make_clip(LAST + 1, 320, 180, 2)
    names = {"ball": name, "box": "box"}
    images = ((i, cv2.imencode(".png", image)[1].tobytes()) for i, (image, _) in enumerate(clip))
    write_export(
        path,
        frames=((number, data) for number, data in images if number != gone),
        width=clip.width,
        height=clip.height,
        labels=[Label(names[each.name], each.color, "mask") for each in LABELS],
        masks=[
            replace(shape, label=names[shape.label])
            for key in keys
            for shape in exact_masks(clip, key)
        ],
        stop_frame=LAST,
    )
    return path


def _receive(site: Site, path: Path) -> None:
    with path.open("rb") as stream:
        site.jobs.receive(path.name, stream)


def _track(site: Site, job: str, **options: Any) -> None:
    site.jobs.start_run(job, RunOptions(engine="flow", **options))
    settings = site.app.extensions[KEY].settings
    loop = SpanLoop(settings, site.jobs.database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    """`clip`: two runs, the second a re-segmentation. `edited`: one run. `gap`: no frame 5."""
    folder = tmp_path_factory.mktemp("player")
    site = Site(folder)
    _receive(site, _export(folder / "clip.zip", (0, 12)))
    _track(site, "clip")
    _receive(site, _export(folder / "clip.zip", (0, 12, 18)))
    _track(site, "clip", mode=Mode.RESEGMENT, reuse_previous=True)
    _receive(site, _export(folder / "edited.zip", (0, 12)))
    _track(site, "edited")
    _receive(site, _export(folder / "gap.zip", (0, 12), gone=5, name=HOSTILE))
    yield site
    site.close()


@pytest.fixture
def open_page(site: Site, browser: Any) -> Iterator[Open]:
    """Opens job pages, and in the end sees to it that nothing was said on their consoles."""
    said: list[str] = []
    contexts = []

    def opened(path: str, *, frame: int | None = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{site.url}/jobs/{path}" + ("" if frame is None else f"#{frame}"))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def shown(page: Any, frame: int, masks: str = "") -> None:
    """Wait until a frame is on the stage, with such masks."""
    label = re.compile(rf"^Frame {frame}: .*{masks}")
    expect(page.locator(".stage-canvas")).to_have_attribute("aria-label", label)


def timeline(site: Site, job: str, layer: str) -> dict[str, Any]:
    with site.app.test_client() as client:
        return client.get(f"/api/jobs/{job}/layers/{layer}/timeline").get_json()


def picture(page: Any) -> bytes:
    """What the stage looks like."""
    page.mouse.move(1, 1)
    return bytes(page.locator("#stage").screenshot())


def test_a_frame_is_shown_with_its_masks_and_their_looks_can_be_changed(open_page: Open) -> None:
    page = open_page("clip", frame=7)
    shown(page, 7, "ball")
    whole = picture(page)
    seen = [whole]
    for key in ("o", "h"):
        page.keyboard.press(key)
        seen.append(picture(page))
        page.keyboard.press(key)
        assert picture(page) == whole
    page.locator("#lanes .eye").first.click()
    seen.append(picture(page))
    page.locator("#lanes .eye").first.click()
    page.locator("#lanes input").first.fill("#ff0000")
    seen.append(picture(page))
    page.locator("#opacity").fill("90")
    seen.append(picture(page))
    assert len(set(seen)) == len(seen), "every one of these looks is another"
    page.reload()
    shown(page, 7, "ball")
    expect(page.locator("#opacity")).to_have_value("90")
    expect(page.locator("#lanes input").first).to_have_value("#ff0000")


def test_all_ways_lead_through_the_frames(open_page: Open) -> None:
    page = open_page("clip")
    shown(page, 0)
    for key, frame in (
        ("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10), ("]", 12), ("]", 18),
        ("[", 12), ("End", LAST), ("ArrowRight", LAST), ("Home", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        shown(page, frame)
    field = page.locator("#frame")
    page.keyboard.press("g")
    field.fill("15")
    field.press("Enter")
    shown(page, 15)
    expect(page).to_have_url(re.compile("#15$"))
    field.fill("99")
    field.press("Enter")
    expect(page.locator("#stage-words")).to_have_text(
        f"There is no frame 99: type one from 0 to {LAST}."
    )
    page.locator("[data-do=back]").click()
    shown(page, 14)
    page.keyboard.press("?")
    expect(page.locator("dialog.keys")).to_contain_text("next frame worth correcting")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.keys")).to_be_hidden()


def test_it_plays_to_the_end_and_can_be_stopped(open_page: Open) -> None:
    page = open_page("clip", frame=2)
    shown(page, 2)
    play = page.locator("[data-do=play]")
    page.keyboard.press(" ")
    expect(play).to_have_attribute("aria-label", "Pause")
    page.keyboard.press(" ")
    expect(play).to_have_attribute("aria-label", "Play")
    play.click()
    shown(page, LAST)
    expect(play).to_have_attribute("aria-label", "Play")


def test_zoom_and_place_stay_while_frames_change(open_page: Open) -> None:
    page = open_page("clip", frame=4)
    shown(page, 4)
    page.keyboard.press("h")  # without masks the same frame is the same picture
    fitted = picture(page)
    page.locator("#stage").hover(position={"x": 200, "y": 120})
    page.mouse.wheel(0, -500)
    expect(page.locator(".stage-canvas")).to_have_class(re.compile("zoomed"))
    page.wait_for_timeout(600)  # then the picture is as sharp as it gets
    zoomed = picture(page)
    page.keyboard.press("ArrowRight")
    shown(page, 5)
    assert picture(page) != zoomed
    page.keyboard.press("ArrowLeft")
    shown(page, 4)
    assert picture(page) == zoomed
    page.keyboard.press("0")
    assert picture(page) == fitted


def test_worst_frames_are_those_of_the_result_and_lead_there(site: Site, open_page: Open) -> None:
    page = open_page("clip")
    worst = timeline(site, "clip", "run-2")["worst"]
    assert worst, "the clip has doubtful frames"
    rows = page.locator("#worst-list li")
    expect(rows).to_have_count(len(worst))
    expect(rows.first).to_contain_text(worst[0]["reason"])
    page.keyboard.press("n")
    shown(page, worst[0]["frame"])
    expect(rows.first).to_have_attribute("aria-current", "true")
    expect(rows.first.get_by_role("link")).to_have_attribute(
        "href", f"/jobs/clip/panel#{worst[0]['frame']}"
    )
    if len(worst) > 1:
        rows.nth(1).get_by_role("button").click()
        shown(page, worst[1]["frame"])


def test_the_timeline_has_a_lane_for_each_object_tells_and_leads(
    site: Site, open_page: Open
) -> None:
    page = open_page("clip")
    objects = timeline(site, "clip", "run-2")["objects"]
    expect(page.locator("#lanes li")).to_have_count(len(objects))
    box = page.locator("#lane-canvas").bounding_box()
    one = box["width"] / (LAST + 1)
    page.mouse.move(box["x"] + 12.5 * one, box["y"] + 13)
    expect(page.locator("#tip")).to_have_text(
        f"Frame 12 · {objects[0]['label']} {objects[0]['object']} · key frame"
    )
    page.mouse.move(box["x"] + 15.5 * one, box["y"] + 13)
    expect(page.locator("#tip")).to_contain_text(re.compile(r"Frame 15 · .*divergence 0\.\d\d"))
    page.mouse.down()
    page.mouse.up()
    shown(page, 15)
    expect(page.locator("#lanes li.selected")).to_have_count(1)
    ruler = page.locator("#ruler")
    ruler.click(position={"x": 20.5 * one, "y": 10})
    shown(page, 20)
    expect(ruler).to_have_attribute("aria-valuenow", "20")
    page.locator("[data-do=timeIn]").click()
    ruler.click(position={"x": box["width"] - 2, "y": 10})
    expect(ruler).not_to_have_attribute("aria-valuenow", "20")


def test_two_results_are_compared_side_by_side_and_by_a_wipe(open_page: Open) -> None:
    page = open_page("clip", frame=15)
    shown(page, 15, "ball")
    expect(page.locator("#layer-a")).to_have_value("run-2")
    alone = picture(page)
    for way in ("Side by side", "Wipe"):
        page.locator("#compare").get_by_text(way).click()
        expect(page.locator("#layer-b")).to_have_value("run-1")
        expect(page.locator("#chip-b")).to_contain_text("Run 1")
        page.keyboard.press("ArrowRight")  # the keys are the player's again
        shown(page, 16)
        page.keyboard.press("ArrowLeft")
        shown(page, 15)
        assert picture(page) != alone
    page.locator("#layer-b").select_option("revision-2")
    expect(page.locator("#chip-b")).to_contain_text("evision 2")
    page.locator("#compare").get_by_text("One").click()
    expect(page.locator("#chip-a")).to_be_hidden()


def test_what_differs_between_two_results_is_listed_and_looked_at(
    site: Site, open_page: Open
) -> None:
    page = open_page("clip")
    shown(page, 0, "ball")
    with site.app.test_client() as client:
        found = client.get("/api/jobs/clip/differences?a=run-1&b=run-2").get_json()
    assert found["objects"], "the correction changed something"
    page.locator("#differences summary").click()
    rows = page.locator("#differences li")
    expect(rows).to_have_count(len(found["objects"]))
    first = found["objects"][0]
    expect(rows.first).to_contain_text(f"{first['label']} {first['object']}")
    rows.first.get_by_text("Look").click()
    shown(page, int(re.split("[-,]", first["frames"])[0]))
    expect(page.locator("#compare [value=wipe]")).to_be_checked()
    expect(page.locator("#chip-a")).to_contain_text("Run 1")
    expect(page.locator("#chip-b")).to_contain_text("Run 2")
    page.locator("#differences [name=b]").select_option("run-1")
    expect(page.locator("#differences")).to_contain_text("Choose two that are not the same.")


def test_a_range_is_chosen_by_dragging_or_typing_and_deleted_in_the_session(
    site: Site, open_page: Open
) -> None:
    page = open_page("edited", frame=12)
    shown(page, 12, "box 1")
    expect(page.locator("#lanes li")).not_to_have_count(0)
    box = page.locator("#lane-canvas").bounding_box()
    one = box["width"] / (LAST + 1)
    page.mouse.move(box["x"] + 10.5 * one, box["y"] + 13)
    page.mouse.down()
    page.mouse.move(box["x"] + 14.5 * one, box["y"] + 13, steps=4)
    page.mouse.up()
    form = page.locator("#range")
    ends = [form.locator(f"[name={name}]") for name in ("from", "to")]
    for field, value in zip(ends, ("10", "14"), strict=True):
        expect(field).to_have_value(value)
    ends[0].fill("11")
    ends[0].press("Tab")
    expect(ends[0]).to_have_value("11")
    form.get_by_text("Delete masks").click()
    expect(page.locator("#range-hint")).to_contain_text("nothing is published yet")
    expect(page.locator("#range-hint a")).to_have_attribute("href", "/jobs/edited/panel")
    expect(page.locator("#layer-a")).to_have_value("session")
    with site.app.test_client() as client:
        entry = client.get("/api/jobs/edited/session/frames/12").get_json()
        kept = client.get("/api/jobs/edited/session/frames/0").get_json()
    assert len(entry["masks"]) == len(kept["masks"]) - 1
    expect(page.locator(".stage-canvas")).not_to_have_attribute("aria-label", re.compile("box 1"))


def test_what_is_published_meanwhile_shows_itself_and_the_frame_stays(
    site: Site, open_page: Open, tmp_path: Path
) -> None:
    _receive(site, _export(tmp_path / "live.zip", (0, 12)))
    page = open_page("live", frame=5)
    shown(page, 5, "no masks")
    page.evaluate("document.getElementById('player').dataset.same = 'yes'")
    _track(site, "live")
    expect(page.locator("#layer-a")).to_have_value("run-1")
    shown(page, 5, "ball")
    expect(page.locator("#player[data-same=yes]")).to_have_count(1)
    expect(page.locator(".tag")).to_have_text("Completed")


def test_a_frame_without_an_image_says_so(open_page: Open) -> None:
    page = open_page("gap", frame=5)
    shown(page, 5)
    expect(page.locator("#stage-words")).to_have_text("Frame 5 has no image in this export.")
    page.keyboard.press("ArrowRight")
    shown(page, 6)
    expect(page.locator("#stage-words")).to_be_hidden()


def test_labels_are_text_whatever_they_say(open_page: Open) -> None:
    page = open_page("gap")
    shown(page, 0)
    expect(page.locator("#lanes")).to_contain_text(HOSTILE)
    assert page.evaluate("window.harmed === undefined")


def test_who_may_only_read_is_offered_no_changes(
    tmp_path: Path, browser: Any, open_page: Open
) -> None:
    keyfile.ensure(tmp_path / "data" / keyfile.AGENT_KEY)
    keyed = Site(tmp_path)
    try:
        _receive(keyed, _export(tmp_path / "clip.zip", (0, 12)))
        context = browser.new_context(
            extra_http_headers={
                "Authorization": f"Bearer {keyed.jobs.tokens.add('vera', Role.VIEWER)}"
            }
        )
        page = context.new_page()
        page.goto(f"{keyed.url}/jobs/clip")
        shown(page, 0, "ball")
        expect(page.locator("#lanes li")).not_to_have_count(0)
        box = page.locator("#lane-canvas").bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 13)
        page.mouse.down()
        page.mouse.move(box["x"] + 250, box["y"] + 13, steps=4)
        page.mouse.up()
        expect(page.locator("#range")).to_be_hidden()
        context.close()
    finally:
        keyed.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (820, 1180), (360, 740)])
def test_the_page_fits_every_window(open_page: Open, width: int, height: int, scheme: str) -> None:
    page = open_page("clip", viewport={"width": width, "height": height}, color_scheme=scheme)
    shown(page, 0, "ball")
    expect(page.locator("#lanes li")).not_to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
