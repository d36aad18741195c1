"""Promise: a long job opens as quickly as a short one, every frame is seen while stepping, and a
page that stays open all day does not grow. How fast: `python -m bench.pages`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.long_job import make_long_job
from tests.browser.stage import Site

pages = pytest.importorskip("bench.pages", reason="playwright is not installed")

FRAMES, OBJECTS = 80, 5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("long")
    site = Site(folder)
    make_long_job(site.jobs, folder, "long", frames=FRAMES, objects=OBJECTS)
    yield site
    site.close()


@pytest.fixture
def page(site: Site, browser: Any) -> Iterator[Any]:
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def test_opening_reads_what_is_looked_at_and_not_the_whole_job(site: Site, page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/jobs/long")
    page.evaluate(pages.ARRIVE)
    page.wait_for_load_state("networkidle")
    frames = 0
    for url in asked:
        if "/masks?" in url:
            query = parse_qs(urlsplit(url).query)
            frames += int(query["to"][0]) - int(query["from"][0]) + 1
    pictures = [url for url in asked if re.search(r"/frames/\d+\.jpg", url)]
    assert 1 <= frames <= FRAMES // 2
    assert 1 <= len(pictures) <= 20


def test_every_frame_is_seen_and_what_was_seen_is_let_go(site: Site, page: Any) -> None:
    page.goto(f"{site.url}/jobs/long")
    page.evaluate(pages.ARRIVE)
    tools = page.context.new_cdp_session(page)
    assert len(pages.walk(page, 2 * FRAMES, FRAMES - 1)[1]) == 2 * FRAMES  # to the end and back
    before = pages.script_mb(tools)
    assert len(pages.walk(page, 3 * FRAMES, FRAMES - 1)[1]) == 3 * FRAMES
    assert pages.script_mb(tools) - before < 2
