"""Promise: a person with a key works in a real browser as everybody does, scripts on or off, and
a page hears of changes again after its connection was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import keyfile
from jobs.views import Role
from tests.browser import scene
from tests.browser.stage import Site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
Open = Callable[..., "sync_api.Page"]


@pytest.fixture
def keyed(tmp_path: Path, browser: sync_api.Browser) -> Iterator[Site]:
    keyfile.ensure(tmp_path / "data" / keyfile.AGENT_KEY)
    site = Site(tmp_path)
    scene.fill(site.jobs, tmp_path)
    yield site
    site.close()


@pytest.fixture
def enter(keyed: Site, browser: sync_api.Browser) -> Iterator[Open]:
    """Opens pages and signs in with a key."""
    contexts = []

    def entered(key: str, path: str = "/", **options: object) -> sync_api.Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.goto(keyed.url + path)
        page.get_by_label("Key or token").fill(key)
        with page.expect_navigation():  # and what is loaded with the page
            page.keyboard.press("Enter")
        return page

    yield entered
    for context in contexts:
        context.close()


def test_all_that_our_pages_ask_for_is_done_for_who_is_signed_in(
    keyed: Site, enter: Open, tmp_path: Path
) -> None:
    page = enter(keyfile.read(tmp_path / "data" / keyfile.AGENT_KEY))
    page.locator("#files").set_input_files(scene.export(tmp_path / "a.zip", (scene.CAR,), (0,), 9))
    expect(page.locator("#cards-ready #job-a")).to_be_visible()
    page.locator("#job-a [data-action=start]").click()
    page.locator("#start [type=submit]").click()
    expect(page.locator("#cards-queued #job-a")).to_be_visible()
    page.locator("#job-a [data-action=cancel]").click()
    expect(page.locator("#cards-failed #job-a")).to_be_visible()
    page.locator("#job-a [data-action=delete]").click()
    page.locator("#confirm").get_by_text("Delete", exact=True).click()
    expect(page.locator("#job-a")).to_have_count(0)
    said = [(line.actor, line.action) for line in keyed.jobs.audit(5)]
    assert said == [("key", a) for a in ("sign in", "upload", "start", "cancel", "delete")]
    page.get_by_text("Sign out").click()
    expect(page.get_by_label("Key or token")).to_be_visible()


def test_forms_without_scripts_sign_in_and_out(keyed: Site, enter: Open, tmp_path: Path) -> None:
    page = enter("a wrong key of mine", java_script_enabled=False)
    expect(page.get_by_role("alert")).to_contain_text("no key of this server")
    page.get_by_label("Key or token").fill(keyfile.read(tmp_path / "data" / keyfile.AGENT_KEY))
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#job-264")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key or token")).to_be_visible()


def test_a_viewer_reads_and_is_offered_nothing_else(keyed: Site, enter: Open) -> None:
    page = enter(keyed.jobs.tokens.add("vera", Role.VIEWER))
    expect(page.locator("#cards-queued #job-271")).to_be_visible()
    expect(page.locator("#choose")).to_have_count(0)
    expect(page.locator("button[data-action]")).to_have_count(0)


def test_who_may_not_do_something_is_told_which_role_is_needed(keyed: Site, enter: Open) -> None:
    """Such as with a page that was opened when the button was still there."""
    page = enter(keyed.jobs.tokens.add("anna", Role.ANNOTATOR))
    cancel = page.locator("#job-271 [data-action=cancel]")
    expect(cancel).to_be_visible()
    cancel.evaluate("button => button.dataset.action = 'delete'")
    page.locator("#job-271 [data-action=delete]").click()
    page.locator("#confirm").get_by_text("Delete", exact=True).click()
    expect(page.locator(".note.bad")).to_contain_text("needs the role admin")
    expect(page.locator("#cards-queued #job-271")).to_be_visible()


@pytest.mark.parametrize(("path", "room"), [("/", "board"), ("/jobs/271", "job:271")])
def test_a_page_hears_again_after_its_connection_was_lost(
    site: Site, browser: sync_api.Browser, path: str, room: str
) -> None:
    server = site.app.extensions["socketio"].server

    def listeners() -> set[str]:
        return {sid for sid, _ in server.manager.get_participants("/", room)}

    context = browser.new_context()
    page = context.new_page()
    # A page that never asks by itself: what shows itself here was heard.
    page.add_init_script("window.setInterval = () => 0")
    page.goto(site.url + path)
    first = wait_for(page, listeners)
    for connection in list(server.eio.sockets.values()):
        connection.close(wait=False)
    wait_for(page, lambda: listeners() - first)
    page.wait_for_timeout(1500)  # what is read upon asking to hear is read before the change
    site.jobs.cancel("271")
    expect(page.locator("#cards-failed #job-271" if path == "/" else ".tag.failed")).to_be_visible()
    context.close()


def wait_for(page: sync_api.Page, found: Callable[[], set[str]]) -> set[str]:
    """Let the browser go on until there is something, and return it."""
    for _ in range(300):
        if result := found():
            return result
        page.wait_for_timeout(50)
    pytest.fail("nobody listens")
