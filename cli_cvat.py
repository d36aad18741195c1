"""Verbs of `relay` that talk to a CVAT server: pull and push."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from config import Settings
from console import hint, say
from errors import InputError

if TYPE_CHECKING:
    from cvat_server.target import Target

_DONE = 0


def pull(options: argparse.Namespace, settings: Settings) -> int:
    """Fetch one export, or those of all jobs in some state, again and again."""
    from cvat_server.pull import pull as fetch
    from cvat_server.server import Server
    from cvat_server.target import read_target

    if options.watch == bool(options.target):
        raise InputError(
            "Say which job or task (`relay pull 264`), or --watch for all jobs in some state."
        )
    if options.watch:
        if options.out or options.no_images:
            raise InputError("--watch fetches exports with images into DOWNLOADS_PATH only.")
        if options.unfinished:
            raise InputError(
                "--watch leaves jobs alone to which a push is unfinished: pull such a job by its "
                "number."
            )
        return _watch(options, settings)
    target = read_target(options.target)
    with Server(settings) as server, _progress(f"Pulling {target}") as tell:
        path = fetch(
            server,
            target,
            settings,
            out=options.out,
            with_images=not options.no_images,
            unfinished=options.unfinished,
            tell=tell,
        )
    say(str(path))
    return _DONE


def push(options: argparse.Namespace, settings: Settings) -> int:
    """Put a result into its job."""
    from cvat_server.push import Way
    from cvat_server.push import push as put
    from cvat_server.server import Server
    from cvat_server.target import read_target

    wanted = None
    if options.job or options.task:
        wanted = read_target(f"job-{options.job}" if options.job else f"task-{options.task}")
    with Server(settings) as server, _progress("Pushing", unit="") as tell:
        done = put(
            server, options.result, settings, target=wanted, replace=options.replace, tell=tell
        )
    there = done.masks - done.sent
    told = {
        Way.NOTHING: f"all {done.masks} masks are there already.",
        Way.UPDATE: f"all {done.masks} masks are there already.",
        Way.APPEND: f"{done.sent} masks added, {there} were there; nothing was replaced.",
        Way.SHAPES: f"{done.sent} masks added, {there} were there; nothing was replaced.",
        Way.REPLACE: f"all annotations replaced by the result's, {done.masks} masks.",
    }[done.way]
    if done.changed:
        told += f" Attributes, occluded or z-order of {done.changed} masks were changed."
    say(" ".join(filter(None, (f"{done.target}: {told}", done.left))))
    return _DONE


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    from cvat_server.poll import Poll, Wanted
    from cvat_server.server import Server

    Server(settings).client.close()  # what is wrong with the settings is said at once

    def pulled(target: Target, path: Path) -> None:
        print(f"{target}: {path}", flush=True)

    poll = Poll(
        settings,
        lambda: Server(settings),
        Wanted(state=options.state, stage=options.stage or ""),
        on_pulled=pulled,
        on_trouble=_complain,
    )
    hint(f"Looking every {options.every} s for jobs that are {options.state}; Ctrl+C ends it.")
    poll.run(options.every)
    return _DONE


def _complain(sentence: str) -> None:
    if sys.stderr is not None:
        print(sentence, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _progress(what: str, unit: str = "B") -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, of bytes by default; silence elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, unit_scale=True, dynamic_ncols=True, leave=False) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield tell
