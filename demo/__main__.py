"""`make demo` and `make run`: the whole product on one machine, with a sample of our own.

The demo uses nothing that a user does not have: the watched downloads folder, the HTTP API, a
worker and a server as processes of their own, and whatever broker and database are configured.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import config
from demo.sample import KEY_FRAMES, NAME, write_sample
from demo.score import score_result
from errors import InputError

ROOT = Path(__file__).resolve().parents[1]
JOB = Path(NAME).stem
PATIENCE = 300.0  # seconds before the demo gives up waiting for one step


def main(arguments: list[str]) -> int:
    """`demo` runs the sample through the queue and ends; `run` leaves server and worker running."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # end like Ctrl+C: the children are stopped
        signal.signal(number, signal.default_int_handler)
    try:
        return run() if arguments == ["run"] else demo()
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def demo() -> int:
    """Run the sample through the queue, check the result and print one table."""
    folder = ROOT / "demo-data"
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    env = os.environ | {
        "DATA_DIR": str(folder),
        "DOWNLOADS_PATH": str(downloads),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "AGENT_KEY": "",
    }
    settings = config.load(env)
    print(f"Sample   {downloads / NAME}: 60 frames, 2 labels, key frames 0 and 30", flush=True)
    clip = write_sample(downloads / NAME)
    api = f"http://127.0.0.1:{port}/api"
    print(f"Database {settings.database_url or 'SQLite'}", flush=True)
    print(f"Broker   {settings.broker_url or 'embedded'}", flush=True)
    with (
        _process("worker", ["worker", "--name", "demo"], env, folder) as worker,
        _process("serve", ["serve"], env, folder) as server,
    ):
        number = _start_when_ready(api, [worker, server])
        print("Run      queued; the worker takes it", flush=True)
        run = _follow(api, number, [worker, server])
        result = folder / "sample_result.zip"
        _download(f"{api}/jobs/{JOB}/result.zip?run={number}", result)
    if not settings.broker_url:
        from jobs import broker

        broker.stop(settings)

    print("Checking the result", flush=True)
    score = score_result(result, clip, KEY_FRAMES)
    overlay = folder / "sample_overlay.mp4"
    _relay(
        env,
        *("export", result, "--images", downloads / NAME, "--format", "overlay", "--out", overlay),
    )
    rows = [
        ("frames", f"{score.frames_covered} of {score.frames} with masks"),
        ("objects", str(score.objects)),
        ("mean IoU", f"{score.mean_iou:.3f} against the exact masks, key frames left out"),
        ("worst", f"frame {score.worst_frame}, mean IoU {score.worst_iou:.3f}"),
        ("frames/s", f"{run['frames_per_second']:.1f}"),
        ("result", str(result)),
        ("overlay", str(overlay)),
    ]
    print()
    for name, value in rows:
        print(f"{name:<9} {value}")
    return 0


def run() -> int:
    """The dashboard and one worker until Ctrl+C, the sample waiting in Ready."""
    settings = config.load()
    _require_free(settings)
    settings.downloads_path.mkdir(parents=True, exist_ok=True)
    sample = settings.downloads_path / NAME
    if not sample.exists():
        write_sample(sample)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    with (
        _process("worker", ["worker"], env, settings.data_dir) as worker,
        _process("serve", ["serve"], env, settings.data_dir) as server,
    ):
        shown = "localhost" if config.is_loopback(settings.host) else settings.host
        _await(lambda: _answers(f"http://{shown}:{settings.port}/readyz"), [worker, server])
        print(f"Dashboard  http://{shown}:{settings.port}")
        print(f"Downloads  {settings.downloads_path}  (exports saved here appear in Ready)")
        print(f"Logs       {settings.data_dir}/serve.log, {settings.data_dir}/worker.log")
        print("Ctrl+C stops the server and the worker; the embedded broker goes by itself.")
        sys.stdout.flush()
        while server.poll() is None and worker.poll() is None:
            time.sleep(0.5)
        _complain_about([worker, server])
    return 0


class _Child(subprocess.Popen[bytes]):
    """A process with the log that it writes."""

    log: Path


@contextlib.contextmanager
def _process(name: str, verb: list[str], env: dict[str, str], folder: Path) -> Iterator[_Child]:
    log = folder / f"{name}.log"
    with log.open("ab") as out:
        child = _Child([*RELAY, *verb], stdout=out, stderr=subprocess.STDOUT, env=env)
    child.log = log
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


RELAY = [sys.executable, "-m", "cli"]


def _relay(env: dict[str, str], *verb: str | Path) -> None:
    subprocess.run([*RELAY, *map(str, verb)], check=True, env=env, stdout=subprocess.DEVNULL)


def _start_when_ready(api: str, children: list[_Child]) -> int:
    """Wait until the watcher has taken the sample in, start a run and return its number."""
    started: dict[str, Any] = {}

    def start() -> bool:
        if _get(f"{api}/jobs/{JOB}") is None:
            return False
        started.update(_post(f"{api}/jobs/{JOB}/runs", {"mode": "initial"}))
        return bool(started)

    _await(start, children)
    return int(started["number"])


def _follow(api: str, number: int, children: list[_Child]) -> dict[str, Any]:
    """Show progress until the run has ended; raise its reason when it did not end well."""
    found: dict[str, Any] = {}

    def ended() -> bool:
        job = _get(f"{api}/jobs/{JOB}")
        runs = job["runs"] if job else []
        found.update(next((r for r in runs if r["number"] == number), {}))
        if sys.stdout.isatty() and found:
            print(f"\r         {found['frames_done']}/{found['frames_total']} frames", end="\r")
        return found.get("state") in {"done", "failed", "cancelled"}

    _await(ended, children)
    if found["state"] != "done":
        raise InputError(f"The demo's run {found['state']}: {found['error']}")
    return found


def _await(condition: Any, children: list[_Child]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        _complain_about(children)
        if time.monotonic() > end:
            raise InputError(f"Nothing happened for {PATIENCE:.0f} s: see {children[0].log}.")
        time.sleep(0.1)


def _complain_about(children: list[_Child]) -> None:
    for child in children:
        if child.poll() is not None:
            tail = child.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"A process ended early ({child.log}): {' '.join(tail)}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _get(url: str) -> dict[str, Any] | None:
    """The JSON at `url`; None while the server is not up or does not know the thing yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return dict(json.load(answer))
    except OSError:  # includes HTTP errors
        return None


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; empty while the job cannot be started yet (409), as one that still runs."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as exc:
        if exc.code == HTTPStatus.CONFLICT:
            return {}
        raise InputError(f"The server refused to start: {json.load(exc)['error']}") from exc


def _download(url: str, out: Path) -> None:
    partial = out.with_suffix(".part")
    with urllib.request.urlopen(url, timeout=60) as answer, partial.open("wb") as file:
        shutil.copyfileobj(answer, file)
    partial.replace(out)


def _require_free(settings: config.Settings) -> None:
    """Find out before anything starts whether somebody else holds the port."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise InputError(
                f"Port {settings.port} cannot be used ({exc.strerror}): stop what uses it, or take "
                "another one with `PORT=5001 make run`."
            ) from exc


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
