"""annotations.xml as a stream of events: no DTD, no entities, no network, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lxml import etree

from errors import InputError

Event = tuple[str, "etree._Element", int]
"""("start" or "end", the element, its depth); the root has depth 1."""


class Source(Protocol):
    """What the XML is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Metered:
    """A source that bounds how much of it a consumer holds at once, whatever the file's size.

    The consumer calls `let_go` when it has freed what it read. Raises InputError when it has read
    more than `most` bytes since.
    """

    def __init__(self, source: Source, most: int, sentence: str) -> None:
        """Stand before `source`; closing goes through."""
        self._source = source
        self._most = most
        self._sentence = sentence
        self.held = 0  # bytes read since the last `let_go`

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        data = self._source.read(size)
        self.held += len(data)
        if self.held > self._most:
            raise InputError(self._sentence)
        return data

    def let_go(self) -> None:
        """Count anew."""
        self.held = 0

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def events(source: Source, where: str) -> Iterator[Event]:
    """Parse and yield start and end events, in file order.

    The consumer frees elements with `free`, else the tree grows. `where` names the file in the
    sentence of the InputError that bad XML, a DTD or another root than <annotations> raises.
    Limits of libxml2 hold: 10 MB for one attribute or text, 256 levels.
    """
    depth = 0
    parser = etree.iterparse(
        source,
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        for event, element in parser:
            if event == "start":
                depth += 1
                if depth == 1:
                    _check_root(element, where)
                yield event, element, depth
            else:
                yield event, element, depth
                depth -= 1
    except etree.LxmlError as exc:
        raise InputError(
            f"{where} is no well-formed XML ({_reason(exc)}): export it again from CVAT."
        ) from exc
    except (UnicodeError, LookupError) as exc:
        raise InputError(f"{where} is not in UTF-8: export it again from CVAT.") from exc


def empty(element: etree._Element) -> None:
    """Drop what an ended element holds.

    The element itself and its tail stay: the parser is still writing behind it.
    """
    element.clear(keep_tail=True)  # type: ignore[call-arg]  # lxml-stubs lack keep_tail


def free(element: etree._Element) -> None:
    """Drop what an ended element holds, and all its earlier siblings."""
    empty(element)
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def attributes(element: etree._Element) -> list[tuple[str, str]]:
    """Return an element's attributes in file order."""
    return [(str(name), str(value)) for name, value in element.items()]


def serialize(element: etree._Element) -> bytes:
    """Write an element as UTF-8 without its tail and, as CVAT does, never self-closed."""
    for each in element.iter():
        if not each.text and len(each) == 0:
            each.text = ""
    return etree.tostring(element, encoding="utf-8", with_tail=False)


def _check_root(root: etree._Element, where: str) -> None:
    if root.getroottree().docinfo.internalDTD is not None:
        raise InputError(
            f"{where} declares a document type or entities, which CVAT never writes: "
            "export it again from CVAT."
        )
    if root.tag != "annotations":
        raise InputError(
            f"{where} is no CVAT annotation file (its root is <{root.tag[:40]}>): export the task "
            'or the job as "CVAT for video 1.1".'
        )


def _reason(exc: etree.LxmlError) -> str:
    text = str(exc) or "damaged"
    return text if len(text) <= 120 else text[:119] + "…"
