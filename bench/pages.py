"""How the job page of a long job feels in a real browser: `python -m bench.pages`.

Makes a job of 2,000 full-HD frames with 20 objects (`bench.long_job`), serves it by `relay serve`
in a process of its own, and opens its page in Chromium, headless, without a GPU, 1280x720.
*Interactive* is from asking for the page until the first frame stands there with its masks and the
player takes keys. A *step* is from the key until the next frame stands there with its masks; the
next key comes once that was drawn. CPU is that of the browser's processes, and of the server.
Memory is that of the page's script after collecting garbage, and of the process that draws it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page

from bench.browser import open_browser
from bench.house import House
from bench.long_job import make_long_job
from bench.machine import machine

JOB = "long"
OPENED = 5  # times
STEPS = 5000
TARGETS = {"interactive": 1.5, "steps": 20.0}  # s at the median, steps/s
GROWTH = 16.0  # MB of script memory that 4,000 more steps may add

ARRIVE = """() => new Promise((resolve) => {
  const look = () => {
    const said = document.querySelector(".stage-canvas")?.getAttribute("aria-label") ?? "";
    const ready = document.querySelector("[data-do='play']:enabled") !== null;
    const there = /^Frame \\d+: (?!masks are not here)/.test(said);
    if (ready && there) resolve(performance.now() / 1000);
    else requestAnimationFrame(look);
  };
  look();
})"""
"""Seconds from asking for the page until it can be used."""

WALK = """([count, last]) => new Promise((resolve) => {
  const canvas = document.querySelector(".stage-canvas");
  const number = () => Number(/\\d+/.exec(canvas.getAttribute("aria-label"))[0]);
  let frame = number(), forward = true, left = count, asked = 0;
  const took = [], began = performance.now();
  const ask = () => {
    if (frame >= last) forward = false;
    if (frame <= 0) forward = true;
    asked = performance.now();
    const key = forward ? "ArrowRight" : "ArrowLeft";
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code: key, bubbles: true }));
  };
  const watch = new MutationObserver(() => {
    const said = canvas.getAttribute("aria-label");
    if (said.includes("not here yet") || number() !== frame + (forward ? 1 : -1)) return;
    frame = number();
    took.push(performance.now() - asked);
    if (--left) requestAnimationFrame(ask);
    else { watch.disconnect(); resolve([performance.now() - began, ...took]); }
  });
  watch.observe(canvas, { attributes: true, attributeFilter: ["aria-label"] });
  ask();
})"""
"""Steps `count` times to and fro; ms that all took, then each. A frame is drawn before a key."""


def main() -> int:
    """Print one table; 1: a target missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-pages-") as name, House(Path(name)) as house:
        jobs, folder = house.jobs, Path(name)
        make_long_job(jobs, folder, JOB, frames=options.frames, objects=options.objects)
        jobs.layers.open(JOB, "run-1")  # as the worker that publishes a result does
        server, port = house.server()
        print(
            f"{machine()}, Chromium\n{options.frames} frames of 1920 x 1080, "
            f"{options.objects} objects",
            flush=True,
        )
        url = f"http://127.0.0.1:{port}/jobs/{JOB}"
        with open_browser() as browser:
            return _measure(browser, server.pid, url, options.frames - 1, options.steps)


def _measure(browser: Browser, server: int, url: str, last: int, steps: int) -> int:
    arrivals = [_arrival(browser, url) for _ in range(OPENED)]
    interactive = statistics.median(arrivals)
    print(
        f"interactive: {interactive:.2f} s (of {OPENED}: {min(arrivals):.2f} to "
        f"{max(arrivals):.2f}; target {TARGETS['interactive']})",
        flush=True,
    )
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    tools = context.new_cdp_session(page)
    page.goto(url)
    page.evaluate(ARRIVE)
    print(
        f"{'':<27}{'ms a step':>18}{'CPU ms a step':>18}{'MB':>18}\n"
        f"{'steps':<18}{'steps/s':>9}{'p50':>9}{'p95':>9}{'browser':>9}{'server':>9}"
        f"{'script':>9}{'process':>9}"
    )
    script: list[float] = []
    slowest, done = float("inf"), 0
    while done < steps:
        many = min(1000, steps - done)
        before = _browser_cpu(browser), _cpu(server)
        whole, took = walk(page, many, last)
        after = _browser_cpu(browser), _cpu(server)
        ours, theirs = (1000 * (b - a) / many for a, b in zip(before, after, strict=True))
        done += many
        script.append(script_mb(tools))
        rate = 1000 * many / whole
        slowest = min(slowest, rate)
        print(
            f"{done - many + 1:>6} to {done:<8}{rate:>9.1f}{statistics.median(took):>9.1f}"
            f"{statistics.quantiles(took, n=20)[-1]:>9.1f}{ours:>9.1f}{theirs:>9.1f}"
            f"{script[-1]:>9.1f}{_process_mb(browser):>9.0f}",
            flush=True,
        )
    context.close()
    growth = script[-1] - script[0]
    print(f"targets: {TARGETS['steps']:.0f} steps/s, {GROWTH:.0f} MB of growth ({growth:.1f})")
    missed = interactive > TARGETS["interactive"] or slowest < TARGETS["steps"] or growth > GROWTH
    return int(missed)


def _arrival(browser: Browser, url: str) -> float:
    """Seconds until a page that this browser has never seen can be used."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    try:
        page = context.new_page()
        page.goto(url, wait_until="commit")
        return float(page.evaluate(ARRIVE))
    finally:
        context.close()


def walk(page: Page, count: int, last: int) -> tuple[float, list[float]]:
    """Step `count` times between frame 0 and `last`; ms that all took, and each step."""
    whole, *each = page.evaluate(WALK, [count, last])
    return whole, each


def script_mb(tools: CDPSession) -> float:
    """What the page's script holds after its garbage was collected, MB of 2^20 bytes."""
    tools.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = tools.send("Runtime.getHeapUsage")
    return float(used["usedSize"]) / 2**20


def _processes(browser: Browser) -> list[dict[str, Any]]:
    """The browser's processes: `type`, `id`, and `cpuTime` in seconds."""
    session = browser.new_browser_cdp_session()
    try:
        found: list[dict[str, Any]] = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return found
    finally:
        session.detach()


def _browser_cpu(browser: Browser) -> float:
    return sum(float(each["cpuTime"]) for each in _processes(browser))


def _process_mb(browser: Browser) -> float:
    """What the largest process that draws a page holds, MB of 2^20 bytes."""
    drawing = [int(each["id"]) for each in _processes(browser) if each["type"] == "renderer"]
    return max(map(_resident_mb, drawing), default=0.0)


def _cpu(pid: int) -> float:
    """Seconds of processor that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(found[0]) / 1024 if found else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
