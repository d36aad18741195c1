"""What axe-core, a checker of accessibility, finds on a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")

_RUN = """async () => {
  const {violations} = await axe.run(document, {resultTypes: ["violations"]});
  return violations.map(({id, impact, help, nodes}) =>
    ({id, impact, help, where: nodes.map((node) => `${node.html} (${node.failureSummary})`)}));
}"""


def grave_findings(page: Any) -> list[str]:
    """Serious and critical findings, one text each; skips the test where axe-core is missing.

    With REQUIRE_SERVICES=1 the test fails then.
    """
    if not SCRIPT.is_file():
        assert os.environ.get("REQUIRE_SERVICES") != "1", "axe-core is not installed"
        pytest.skip("axe-core is not installed: run make setup-dev where npm is")
    page.evaluate(SCRIPT.read_text(encoding="utf-8"))
    return [
        f"{found['id']}: {found['help']}: {' | '.join(found['where'][:5])}"
        for found in page.evaluate(_RUN)
        if found["impact"] in GRAVE
    ]
