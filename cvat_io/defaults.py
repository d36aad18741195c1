"""Which attributes of a mask a person set, and which CVAT fills in by itself.

A label may be given an attribute at any time. CVAT then exports it with every mask, also with those
that never had it, and each has the default there.
"""

from __future__ import annotations

from collections.abc import Iterable

from cvat_io.model import Label, MaskShape


class Defaults:
    """What the labels of a job give to attributes that nobody set."""

    def __init__(self, labels: Iterable[Label]) -> None:
        """`labels`: as the newest export of the job defines them."""
        self._of = {
            label.name: {each.name: each.default_value.strip() for each in label.attributes}
            for label in labels
            if label.parent is None  # parts of skeletons are never masks
        }

    def set_of(self, shape: MaskShape) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in file order of a mask's attributes that differ from their defaults.

        Attributes that the label has not, or has no more, are left out.
        """
        known = self._of.get(shape.label, {})
        return tuple(
            (name, value)
            for name, value in shape.attributes
            if name in known and value.strip() != known[name]
        )
