"""What `components.json` says of a sequence's saved components; see `jobs.components`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_io.frames import hue
from cvat_io.sequence_archive import LABELS
from errors import InputError

COMBINED = "combined"
MANIFEST = "components.json"
NAME = re.compile(r"[^\W_][\w .-]{0,63}")
_KEPT = frozenset({"component", "object", "first", "last", "frames", "layer", "saved"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentView:
    """One saved component: frames `first` to `last` of an object, as they were in `layer`.

    `index`: its value in the combined pictures; `color`: its `#rrggbb` there. `saved`: seconds
    since the epoch.
    """

    component: str
    index: int
    color: str
    object: int
    first: int
    last: int
    frames: int
    layer: str
    saved: float


def folders_of(kept: Sequence[dict[str, Any]]) -> list[str]:
    """The folders in which all that is saved lies."""
    return [COMBINED, *(entry["component"] for entry in kept)] if kept else []


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise InputError(
            f"{MANIFEST} of {folder.name} cannot be read: put it back as it was saved, or move "
            "the folder away."
        ) from exc
    return told if isinstance(told, dict) else {}


def read_list(folder: Path) -> list[dict[str, Any]]:
    """What is saved, in the order of the first saving."""
    entries = _manifest(folder).get("components", [])
    return [
        {key: entry[key] for key in _KEPT}
        for entry in entries
        if entry.keys() >= _KEPT and NAME.fullmatch(entry["component"])
    ]


def size_of(folder: Path) -> tuple[int, int]:
    """Width and height of the pictures that are saved; 0 where none are."""
    told = _manifest(folder)
    return told.get("width", 0), told.get("height", 0)


def views_of(entries: Sequence[dict[str, Any]]) -> tuple[ComponentView, ...]:
    """The same for people and programs, each with its index and colour in the combined pictures."""
    own = {label.name: label.color for label in LABELS}
    return tuple(
        ComponentView(
            index=number,
            color=own.get(entry["component"]) or "#{:02x}{:02x}{:02x}".format(*hue(number + 2)),
            **entry,
        )
        for number, entry in enumerate(entries, start=1)
    )
