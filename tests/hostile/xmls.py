"""Hostile annotations.xml files, as whole texts or in pieces."""

from __future__ import annotations

from tests.cvat_io.cvat_samples import HEAD, LABELS, document, job, mask, track

SOUND = document(job(), track(mask(1)))
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "ha ha ha ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(10))
    + "]>"
)
QUADRATIC = f'<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "{"x" * 50_000}">]>'


def dtd(subset: str) -> bytes:
    """A sound document below a document type of this subset, which uses the entity x."""
    head = f'<?xml version="1.0"?><!DOCTYPE annotations [{subset}]>'
    return document(job(), "<x>&x;</x>", track(mask(1)), head=head)


def labelled(*names: str) -> bytes:
    """Labels with these names, and a mask of each; names are written as they are."""
    labels = "".join(f"<label><name>{n}</name><color>#b83df5</color></label>" for n in names)
    tracks = [track(mask(1, left=k), k, label=n) for k, n in enumerate(names)]
    return document(job(labels=f"<labels>{labels}</labels>"), *tracks)


def shaped(shape: str, *, number: object = 12) -> bytes:
    """A sound track, and one with this shape."""
    return document(job(), track(mask(1)), track(shape, number))


Parts = tuple[bytes, bytes, int, bytes]
"""What stands before, what is repeated and how many times, what stands behind."""


def long_attribute(size: int) -> Parts:
    """One attribute of `size` bytes."""
    before, after = document(job(), track(mask(1, rle="@"))).split(b"@")
    return _repeated(before, b"1, 1, " * 2**17, size, after)


def wide_shape(size: int) -> Parts:
    """One mask that holds `size` bytes of attribute elements."""
    before, after = SOUND.split(b"</mask>", 1)
    return _repeated(before, b'<attribute name="a">b</attribute>' * 2**15, size, b"</mask>" + after)


def wide_head(size: int) -> Parts:
    """A head of `size` bytes of elements."""
    before, after = SOUND.split(b"<dumped>", 1)
    return _repeated(before, b"<a>some of the many</a>" * 2**15, size, b"<dumped>" + after)


def long_gaps(size: int) -> Parts:
    """Masks with megabytes of blanks behind each, `size` bytes in all."""
    before, after = SOUND.split(b"</track>", 1)
    return _repeated(before, b" " * 9_000_000 + mask(2).encode(), size, b"</track>" + after)


def large_track(size: int) -> Parts:
    """One track that is kept as it is, of `size` bytes."""
    before = SOUND.removesuffix(b"</annotations>") + b'<track id="9" label="car">'
    box = f'<box frame="1" keyframe="1" outside="0" points="{"1.0,2.0;" * 2**15}"></box>'
    return _repeated(before, box.encode(), size, b"</track></annotations>")


def deep(levels: int) -> Parts:
    """Elements inside one another."""
    return _repeated(SOUND.split(b"</mask>", 1)[0], b"<a>" * 1000, levels * 3, b"")


def _repeated(before: bytes, block: bytes, size: int, after: bytes) -> Parts:
    return before, block, size // len(block), after


def attribute_flood(count: int) -> bytes:
    """A mask with so many attributes more."""
    flood = "".join(f' a{n}=""' for n in range(count))
    return shaped(mask(3).replace("<mask", f"<mask{flood}", 1))


def many_labels(count: int) -> bytes:
    """Labels without number."""
    more = "".join(f"<label><name>l{n}</name></label>" for n in range(count))
    return document(job(labels=LABELS.replace("</labels>", more + "</labels>")), track(mask(1)))


def spelled(encoding: str, body: bytes | None = None) -> bytes:
    """A sound document that states `encoding` and is written in it, or as `body` says."""
    text = SOUND.decode().replace("utf-8", encoding)
    assert text.startswith(HEAD.split("utf-8")[0])
    return text.encode(encoding) if body is None else body
