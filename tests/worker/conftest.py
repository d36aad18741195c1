"""Workers are tested here, not masks: engines that learn do little work."""

from __future__ import annotations

import pytest

from tests.helpers.engines import light, use


@pytest.fixture(autouse=True)
def light_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines of this process; those of processes that a test starts do all their work."""
    use(light, monkeypatch)
