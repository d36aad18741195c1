"""A real server with a lifelike set of jobs, and a real browser to look at it.

Chromium is optional: without it these tests are skipped and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
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
