"""What stands in for published weights: a small file that begins as they do, and its model."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from errors import InputError
from tracker import downloads, models
from tracker.models import Model


def saved(tensor: torch.Tensor) -> bytes:
    """A file of weights as published ones are."""
    file = io.BytesIO()
    torch.save({"state_dict": {"weight": tensor}}, file)
    return file.getvalue()


CONTENT = saved(torch.arange(128_000, dtype=torch.float32))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def know(monkeypatch: pytest.MonkeyPatch, one: Model) -> None:
    """Let it be the only model that there is."""
    monkeypatch.setattr(models, "_REGISTRY", MappingProxyType({one.name: one}))


def refusal(name: str = "net") -> str:
    """The sentence with which a download is refused."""
    with pytest.raises(InputError) as caught:
        downloads.get(name)
    return str(caught.value)


def left(folder: Path) -> set[str]:
    """What lies in MODEL_DIR, but for the lock of the pins."""
    return {p.name for p in folder.iterdir()} - {"pins.lock"}
