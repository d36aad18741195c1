"""Masks go in as shapes, or are changed, a bounded number at a time, through CVAT's API.

For servers whose imports cannot add, and for more masks than one import should hold; and where a
mask that is there has other attributes, or is placed otherwise, than the result's. A batch is
one transaction of the server's, so that it is there or not. What is there is told by its pixels,
so a push that broke off is repeated as a whole and sends only what did not arrive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cvat_io.masks import tight_many
from cvat_io.model import MaskShape
from cvat_server.place import Place
from cvat_server.pull import Tell
from cvat_server.server import Server
from cvat_server.target import Target
from errors import InputError

MOST_SHAPES = 1000  # of one request: the server is done with it in seconds
_MOST_BYTES = 4 << 20  # of one request's shapes


def send(server: Server, place: Place, shapes: Iterable[MaskShape], count: int, tell: Tell) -> None:
    """Add `shapes`, of which there are `count`; `tell` hears how many are there.

    Raises InputError that says how far it came; what came so far is complete and stays.
    """
    done = f"{place.target} has {{}} of {count} masks so far"
    _save(server, place.target, "create", _rows(place, shapes), count, tell, done)


def change(server: Server, target: Target, rows: Sequence[dict[str, Any]], tell: Tell) -> None:
    """Put masks, as the API gives them, in the place of those that have their ids.

    `tell` hears how many are changed. Raises InputError as `send` does.
    """
    done = f"{{}} of {len(rows)} masks of {target} are changed so far"
    _save(server, target, "update", rows, len(rows), tell, done)


def _save(
    server: Server,
    target: Target,
    action: str,
    rows: Iterable[dict[str, Any]],
    count: int,
    tell: Tell,
    far: str,
) -> None:
    done = 0
    tell(0, count)
    for batch in _batches(rows):
        try:
            server.save_shapes(target, batch, action)
        except InputError as exc:
            raise type(exc)(
                f"{far.format(done)}, and the rest goes in when you push again: {exc}"
            ) from exc
        done += len(batch)
        tell(done, count)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row))
        if batch and (len(batch) == MOST_SHAPES or size + length > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def _rows(place: Place, shapes: Iterable[MaskShape]) -> Iterator[dict[str, Any]]:
    """What the SDK calls a LabeledShapeRequest; its own models would take minutes to build."""
    labels = place.named
    for shape in shapes:
        (mask,) = tight_many([shape.mask])
        if mask is None:
            continue  # CVAT knows no empty mask
        label = labels[shape.label]
        box = [mask.left, mask.top, mask.left + mask.width - 1, mask.top + mask.height - 1]
        yield {
            "type": "mask",
            "label_id": label.number,
            "frame": place.number_of(shape.frame),
            "points": [*mask.runs.tolist(), *box],
            "occluded": shape.occluded,
            "z_order": shape.z_order,
            "group": shape.group_id,
            "source": shape.source,
            # As in an import: an attribute that the label no longer has is passed over.
            "attributes": [
                {"spec_id": label.attributes[name], "value": value}
                for name, value in shape.attributes
                if name in label.attributes
            ],
        }
