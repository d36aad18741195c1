"""Workers are tested here, not masks: "auto" is the engine that learns nothing."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from tests.helpers.engines import light, use
from tracker import engines


@pytest.fixture(autouse=True)
def quick_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow engine comes first; those that learn do little work when a test asks for them."""
    known = dict(engines._REGISTRY)
    monkeypatch.setattr(
        engines, "_REGISTRY", MappingProxyType({"flow": known.pop("flow"), **known})
    )
    use(light, monkeypatch)
