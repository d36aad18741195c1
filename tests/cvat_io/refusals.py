"""How a file is refused: the sentence, from opening to the last check."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from config import Limits
from cvat_io.check import inspect, require_trackable
from errors import MAX_SENTENCE, InputError
from tests.cvat_io.cvat_samples import document, job, mask, track


def refusal(path: Path, limits: Limits | None = None) -> str:
    """The sentence with which a file is refused, from opening to the last check."""
    with pytest.raises(InputError) as caught:
        require_trackable(inspect(path, limits or Limits()))
    sentence = str(caught.value)
    assert len(sentence) <= MAX_SENTENCE
    assert sentence.isprintable()
    return sentence


def read_or_refused(path: Path) -> None:
    """Anything but InputError fails the test."""
    with contextlib.suppress(InputError):
        inspect(path, Limits())


def refused_xml(folder: Path, data: bytes) -> str:
    """The same for a bare XML file of these bytes."""
    path = folder / "export.xml"
    path.write_bytes(data)
    return refusal(path)


SOUND = document(job(), track(mask(1)))
