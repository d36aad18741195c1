"""Fields of a JSON body: each is asked for by name and kind, and what is left over is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from errors import InputError, one_line

E = TypeVar("E", bound=str)
MOST_NUMBER = 2**31 - 1
_MISSING = object()


class Fields:
    """One JSON object. Every getter raises InputError that names the field and what it may be."""

    def __init__(self, body: dict[str, Any], where: str = "") -> None:
        """`where`: what to call the object in sentences, such as "masks[2]"."""
        self._left = dict(body)
        self._where = f" of {where}" if where else ""

    def number(self, name: str) -> int:
        """A whole number, 0 and up."""
        return self._number(name, self._take(name))

    def number_or_none(self, name: str) -> int | None:
        """A whole number; None where it is null or left out."""
        given = self._take(name, None)
        return None if given is None else self._number(name, given)

    def numbers_or_none(self, name: str) -> tuple[int, ...] | None:
        """Whole numbers; None where it is null or left out."""
        given = self._take(name, None)
        return None if given is None else self._numbers(name, given)

    def numbers(self, name: str) -> tuple[int, ...]:
        """Whole numbers."""
        return self._numbers(name, self._take(name))

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        given = self._take(name, default)
        if not isinstance(given, bool):
            raise self._wrong(name, given, "true or false")
        return given

    def share_or_none(self, name: str) -> float | None:
        """A number from 0 to 1; None where it is null or left out."""
        given = self._take(name, None)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
            raise self._wrong(name, given, "a number from 0 to 1")
        return float(given)

    def text(self, name: str, default: str | None = None) -> str:
        """A text; `default` where it may be left out."""
        given = self._take(name, _MISSING if default is None else default)
        if not isinstance(given, str):
            raise self._wrong(name, given, "a text")
        return given

    def one_of(self, name: str, kinds: Sequence[E]) -> E:
        """One of some texts."""
        given = self._take(name)
        for kind in kinds:
            if given == kind:
                return kind
        raise self._wrong(name, given, "one of " + ", ".join(kinds))

    def items(self, name: str) -> list[Fields]:
        """Objects."""
        given = self._take(name)
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise self._wrong(name, given, "a list of objects")
        return [Fields(each, f"{name}[{place}]") for place, each in enumerate(given)]

    def anything(self, name: str) -> Any:
        """What is given, of any kind; None where it is left out."""
        return self._take(name, None)

    def has(self, name: str) -> bool:
        """Whether a field is given and was not asked for yet."""
        return name in self._left

    def end(self) -> None:
        """Refuse what is left over."""
        if self._left:
            name = one_line(next(iter(self._left)), 60)
            raise InputError(f"The field {name!r}{self._where} is unknown here: leave it out.")

    def _take(self, name: str, default: Any = _MISSING) -> Any:
        given = self._left.pop(name, default)
        if given is _MISSING:
            raise InputError(f"The field {name!r}{self._where} is missing: give it.")
        return given

    def _number(self, name: str, given: Any) -> int:
        if type(given) is not int or not 0 <= given <= MOST_NUMBER:  # true is no number
            raise self._wrong(name, given, "a whole number, 0 and up")
        return given

    def _numbers(self, name: str, given: Any) -> tuple[int, ...]:
        if not isinstance(given, list):
            raise self._wrong(name, given, "a list of whole numbers")
        return tuple(self._number(name, each) for each in given)

    def _wrong(self, name: str, given: Any, wanted: str) -> InputError:
        shown = one_line(repr(given), 60)
        return InputError(f"The field {name!r}{self._where} cannot be {shown}: give {wanted}.")
