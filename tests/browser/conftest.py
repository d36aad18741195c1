"""A real server with a lifelike set of jobs, and a real browser to look at it.

Chromium is optional: without it these tests are skipped and say so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import scene
from tests.browser.stage import Site

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sync_api.expect.set_options(timeout=15_000)  # the machine may be busy with other tests
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the pages are not looked at in a browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path, browser: Any) -> Iterator[Site]:
    site = Site(tmp_path)
    scene.fill(site.jobs, tmp_path)
    yield site
    site.close()
