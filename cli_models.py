"""The verb of `relay` about engines and the weights that others have published for them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from config import Settings
from console import say
from errors import InputError

if TYPE_CHECKING:
    from tracker.models import Model

_DONE = 0
_FORMAT = "{:<22} {:<13} {:<10} {:<14} {:>8}  {:<13} {}"
_MEGA, _GIGA = 1e6, 1e9


def models(options: argparse.Namespace, settings: Settings) -> int:
    """List the engines and weights, or get the weights of one."""
    from tracker.models import use_folder

    use_folder(settings.model_dir)
    if options.action == "get":
        if not options.name:
            raise InputError("Say which engine to get: `relay models get NAME`.")
        return _get(options.name)
    if options.name:
        raise InputError("`relay models list` takes no name: see `relay models --help`.")
    return _list()


def _get(name: str) -> int:
    from tracker import engines
    from tracker.models import model, models, place

    known = [one.name for one in models()]
    own = [info.name for info in engines.engines() if not info.model]
    if name in own:
        print(f"{name}: needs no download, it is ready to use.")
        return _DONE
    if name not in known:
        raise InputError(f"There are no weights named {name!r}: use one of {', '.join(known)}.")
    from tracker.downloads import get

    with _progress(name) as tell:
        checked = get(name, tell)
    say(f"{name}: ready in {place(name)}.")
    for one in checked:
        if one.pinned:
            say(f"No SHA-256 of {one.path.name} is published: {one.sha256} is pinned from now on.")
    if not model(name).runnable:
        say(f"It needs the package {model(name).library}, which is not installed here.")
    return _DONE


def _list() -> int:
    from tracker import engines
    from tracker.models import fault, folder, is_present, models, place
    from worker.local import own_device

    device = own_device("auto")
    print(_FORMAT.format("NAME", "MASKS", "PRESENT", "RUNS HERE", "SIZE", "LICENCE", "BEST FOR"))
    for info in engines.engines():
        if not info.model:
            runs = device if "cuda" in info.devices else "cpu"
            does = "follows makes" if info.name == "builtin" else "follows"
            print(_FORMAT.format(info.name, does, "yes", runs, "-", "MIT", info.summary))
    faults = []
    for one in models():
        does = " ".join(["follows"] * one.tracks + ["makes"] * one.segments)
        broken_off = place(one.name).with_name(one.file + ".part").exists()
        wrong = fault(one.name) if is_present(one.name) else ""
        faults += [f"{one.name}: {wrong}"] * bool(wrong)
        here = "wrong file" if wrong else "yes"
        present = here if is_present(one.name) else "in part" if broken_off else "no"
        needs = f" (needs {one.needs})" if one.needs else ""
        best = one.best_for + needs
        row = (one.name, does, present, _runs(one, device))
        print(_FORMAT.format(*row, _size(one.size), one.licence, best))
    for wrong in faults:
        say(wrong)
    choice = engines.choose(lambda: device)
    say(f"ENGINE=auto takes {choice.name}: {choice.reason}.")
    say(f"Weights lie in {folder()}; `relay models get NAME` brings them.")
    return _DONE


def _runs(one: Model, device: str) -> str:
    if not one.runnable:
        return "no package"
    return "cpu, slowly" if device == "cpu" and one.gpu else device


def _size(size: int) -> str:
    return f"{size / _GIGA:.1f} GB" if size >= _GIGA else f"{size / _MEGA:.0f} MB"


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on a terminal, silence elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, dynamic_ncols=True, leave=False) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield tell
