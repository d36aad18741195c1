"""Promise: axe finds nothing serious on any page, light or dark, nor in its dialogs and menus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import keyfile
from tests.browser import scene
from tests.browser.axe import grave_findings
from tests.browser.stage import Site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Show = Callable[[Any], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("axe")
    site = Site(folder)
    scene.fill(site.jobs, folder)
    yield site
    site.close()


def _open_start(page: Any) -> None:
    page.locator("#job-264 [data-action=start]").click()
    expect(page.locator("#plan")).to_contain_text("Computes")


def _show_player(page: Any) -> None:
    label = page.locator(".stage-canvas[aria-label^='Frame 0: ']")
    expect(label).to_be_visible()
    expect(page.locator("#lanes li")).not_to_have_count(0)


def _open_keys(page: Any) -> None:
    _show_player(page)
    page.keyboard.press("?")


def _open_folds(page: Any) -> None:
    _show_player(page)
    page.locator("#differences summary").click()
    page.locator("#runs summary").first.click()


def _show_panel(page: Any) -> None:
    expect(page.locator(".stage-canvas")).to_be_visible()
    expect(page.locator("#object-list [data-object]")).not_to_have_count(0)


PAGES: dict[str, tuple[str, Show]] = {
    "dashboard": ("/", lambda page: expect(page.locator("#job-264")).to_be_visible()),
    "start form": ("/", _open_start),
    "job": ("/jobs/264", _show_player),
    "keys": ("/jobs/264", _open_keys),
    "folds": ("/jobs/264", _open_folds),
    "failed job": ("/jobs/harbour-crane", lambda page: expect(page.locator("h1")).to_be_visible()),
    "running job": ("/jobs/259", _show_player),
    "panel": ("/jobs/264/panel", _show_panel),
    "studio": ("/studio", lambda page: expect(page.locator("h1")).to_be_visible()),
    "no such page": ("/jobs/none", lambda page: expect(page.locator("h1")).to_be_visible()),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_axe_finds_nothing_serious(site: Site, browser: Any, name: str, scheme: str) -> None:
    path, show = PAGES[name]
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        page.goto(site.url + path)
        show(page)
        assert grave_findings(page) == []
    finally:
        context.close()


def test_axe_finds_nothing_serious_on_a_phone(site: Site, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    try:
        page = context.new_page()
        for path, show in (PAGES["dashboard"], PAGES["job"]):
            page.goto(site.url + path)
            show(page)
            assert grave_findings(page) == []
    finally:
        context.close()


def test_axe_finds_nothing_serious_where_people_sign_in(tmp_path: Path, browser: Any) -> None:
    keyfile.ensure(tmp_path / "data" / keyfile.AGENT_KEY)
    keyed = Site(tmp_path)
    try:
        context = browser.new_context()
        page = context.new_page()
        page.goto(keyed.url)
        expect(page.get_by_label("Key or token")).to_be_visible()
        assert grave_findings(page) == []
        context.close()
    finally:
        keyed.close()


def test_axe_is_heard(browser: Any) -> None:
    """A checker that finds nothing where something is wrong would be none."""
    page = browser.new_page()
    page.set_content("<html><body><img src='x.png'><button></button></body></html>")
    found = grave_findings(page)
    page.close()
    assert any(text.startswith("image-alt") for text in found)
    assert any(text.startswith("button-name") for text in found)
