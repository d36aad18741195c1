"""A real server with a lifelike set of jobs, and a real browser to look at it.

Chromium is optional: without it these tests are skipped and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import scene
from tests.browser.stage import Site


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sync_api.expect.set_options(timeout=15_000)  # the machine may be busy with other tests
    from bench.browser import CHROMIUM, open_browser

    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the pages are not looked at in a browser")
    with open_browser() as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path, browser: Any) -> Iterator[Site]:
    site = Site(tmp_path)
    scene.fill(site.jobs, tmp_path)
    yield site
    site.close()


@pytest.fixture
def enter(site: Any, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens panels, and in the end sees to it that nothing was said on their consoles."""
    from playwright.sync_api import expect

    said: list[str] = []
    contexts = []

    def opened(job: str, *, frame: int | None = None, quiet: bool = True, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{site.url}/jobs/{job}/panel" + (f"#{frame}" if frame is not None else ""))
        expect(page.locator("#panel[data-ready]")).to_be_attached(timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
