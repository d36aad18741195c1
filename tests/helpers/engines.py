"""The built-in engines with less work, for tests that do not ask how good masks are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest

from tracker.propagators import builtin
from tracker.propagators.builtin.recipe import RECIPES, Recipe


def quick(recipe: Recipe) -> Recipe:
    """The same, taught just long enough to follow what is easy."""
    return replace(recipe, side=128, samples=32, steps=180)


def light(recipe: Recipe) -> Recipe:
    """The same with so little work that masks are good for nothing but being there."""
    return replace(recipe, pixels=16_000, side=64, samples=10, steps=40, motion=20_000)


def use(kind: Callable[[Recipe], Recipe] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process's engines go by other recipes; what they do they really do.

    `kind`: `quick` or `light`; None for all the work.
    """
    made = {n: kind(r) if kind else r for n, r in RECIPES.items()}
    monkeypatch.setattr(builtin, "RECIPES", MappingProxyType(made))
