"""Workers are tested here, not masks: "auto" learns nothing, engines that learn do little work."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from tests.helpers.engines import light, use
from tracker import engines


@pytest.fixture(autouse=True)
def light_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines of this process; those of processes that a test starts do all their work."""
    use(light, monkeypatch)
    known = dict(engines._REGISTRY)
    monkeypatch.setattr(
        engines, "_REGISTRY", MappingProxyType({"flow": known.pop("flow"), **known})
    )
