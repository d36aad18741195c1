"""Masks that a person drew over masks that stay: who gives way beside that frame.

Where an object that is made anew meets one that stays, the pixels are the latter's. That is wrong
for what a person put on top, such as a head on a body: so what lies below it, by z-order, is made
anew too. What lies on top by nothing that a person said would be covered, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cvat_io.masks import area, without
from cvat_io.model import Mask, MaskShape
from errors import one_line


@dataclass(frozen=True, slots=True)
class Stack:
    """One drawn mask among masks that stay.

    `below`: the objects of those that it lies on top of. `hides`: the objects of all others that it
    meets, where they leave it less than half of its pixels; else empty.
    """

    drawn: MaskShape
    below: tuple[int, ...]
    hides: tuple[int, ...]

    def sentences(self) -> Iterator[str]:
        """What becomes of it, for people; each is the end of a sentence, without a full stop."""
        label = one_line(self.drawn.label, 60)
        if self.below:
            yield (
                f'a mask of "{label}" lies on top of {numbered(self.below)}, by its z-order: what '
                "is below is made anew beside this frame too, so that it gives way"
            )
        if self.hides:
            yield (
                f'most of a mask of "{label}" lies on {numbered(self.hides)}: masks of that which '
                "stay as they were beside this frame cover it there; if yours is on top, give it a "
                "higher z-order"
            )


def stacks(drawn: Iterable[MaskShape], stay: Sequence[tuple[MaskShape, int]]) -> list[Stack]:
    """Those of drawn masks that meet masks which stay. `stay`: each with its object."""
    found = []
    for shape in drawn:
        met = [(other, number) for other, number in stay if _meet(shape, other)]
        below = [number for other, number in met if other.z_order < shape.z_order]
        beside = [(other, number) for other, number in met if other.z_order >= shape.z_order]
        hidden = uncovered(shape.mask, [other.mask for other, _ in beside]) is None
        hides = [number for _, number in beside] if hidden else []
        if below or hides:
            found.append(Stack(shape, tuple(sorted(below)), tuple(sorted(hides))))
    return found


def uncovered(mask: Mask, others: Sequence[Mask]) -> Mask | None:
    """What others leave of a mask; None where that is less than half of its pixels."""
    left = without(mask, others)
    return None if left is None or 2 * area(left) < area(mask) else left


def numbered(objects: Sequence[int]) -> str:
    """Objects by their numbers, for people."""
    return f"object{'' if len(objects) == 1 else 's'} {' and '.join(map(str, objects))}"


def _meet(a: MaskShape, b: MaskShape) -> bool:
    left = without(a.mask, [b.mask])
    return left is None or area(left) < area(a.mask)
