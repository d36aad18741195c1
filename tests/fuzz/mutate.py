"""Changes that know what an export is made of: its XML, its pictures, its zip's headers.

Blind changes of a zip's bytes almost always end at a checksum. These take the archive apart, change
one part and put it together again, so that most of them get as far as the part that they changed.
"""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

XML = "annotations.xml"
Member = tuple[zipfile.ZipInfo, bytes]

VALUES = (
    "", "0", "1", "-1", "-0", "+1", " 1 ", "1_0", "\u0661", "1.0", "1e3", "NaN", "inf", "-inf",
    "0x10", "None", "true", "9" * 8, "9" * 20, "9" * 4400, "-" + "9" * 4299, "2147483647",
    "2147483648", "-2147483649", "4294967296", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "1, 2, 5", "1,2,5", "1, 2, 5,", ", ", "-1, 9", "0, 8", "8", "8, 0",
    "0, 0, 0, 8", "1, 2147483647", "99999999, 99999999", "1 2 5", "\u202e", "../../x", "a/../b",
    "&lt;script&gt;", "&#10;", "&#xFFFF;", "&#0;", "&x;", "x" * 5000, "car", "person", "step=3",
    "step=0", "annotation", "interpolation", "#zzzzzz", "\u00e9", "\U0001f600", "]]&gt;",
)  # fmt: skip
PIECES = (
    "<", ">", "/", "&", '"', "<!--", "-->", "<![CDATA[", "]]>", "<?x?>", "\0", "\ufffe",
    '<!DOCTYPE a [<!ENTITY x "y">]>', '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x">',
    "<a>" * 300, "<image id='0' name='x'></image>", "<meta></meta>", "<project></project>",
    "<track id='1' label='car'></track>", "<track></track>", "<skeleton frame='0'></skeleton>",
    '<attribute name="a">x</attribute>', ' xmlns="u"', ' xmlns:p="u" p:q="1"', ' frame="3"',
    "<box frame='0' keyframe='1' outside='0'></box>",
)  # fmt: skip
NAMES = (
    "../x", "/x", "a\\b", "C:x", "./annotations.xml", "ANNOTATIONS.XML", "images//x.png", "images/",
    "images/frame_000000.PNG", "images/frame_000000.png", "images/frame_999999999.PNG", "x.xml",
    "images/\u202egnp.exe", "images/" + "9" * 5000 + ".png", "CON", "nul.txt", "a\nb", "task.json",
    "images/\u0663.png", "images/<b>.png", "annotations.xml/", "x.zip", "", ".", "a/./b",
)  # fmt: skip
HEADERS = {b"PK\3\4": 30, b"PK\1\2": 46, b"PK\5\6": 22, b"PK\6\6": 56, b"PK\6\7": 20}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return `data` changed in one to three places; the same `rng` makes the same changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = _once(data, rng)
    return data


def _once(data: bytes, rng: random.Random) -> bytes:
    if data.startswith(b"PK"):
        if rng.random() < 0.15:
            return _headers(data, rng)
        members = _apart(data)
        if members:
            change = rng.choice((_annotations, _annotations, _annotations, _picture, _members))
            return _together(change(members, rng), rng)
        return _headers(data, rng)
    if data.lstrip().startswith(b"<"):
        return xml(data, rng)
    return _bytes(data, rng)


def xml(data: bytes, rng: random.Random) -> bytes:
    """Change XML in one place."""
    text = data.decode("utf-8", "replace")
    change = rng.choice((_value, _value, _value, _text, _move, _insert, _remove, _encode))
    made = change(text, rng)
    return made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass")


def _value(text: str, rng: random.Random) -> str:
    return _swap(text, r'(?<==")[^"<]*(?=")', rng)


def _text(text: str, rng: random.Random) -> str:
    return _swap(text, r"(?<=>)[^<>\n]*(?=</)", rng)


def _swap(text: str, pattern: str, rng: random.Random) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    place = rng.choice(found)
    old = place[0]
    if rng.random() < 0.3 and old:
        at = rng.randrange(len(old))
        new = old[:at] + rng.choice("-0123456789, .") + old[at + rng.randint(0, 1) :]
    else:
        new = rng.choice(VALUES)
    return text[: place.start()] + new + text[place.end() :]


def _move(text: str, rng: random.Random) -> str:
    """Take one element's tag or a whole line elsewhere, or double it."""
    lines = text.split("\n")
    line = rng.choice(lines)
    lines.insert(rng.randrange(len(lines) + 1), line * rng.choice((1, 1, 1, 40)))
    if rng.random() < 0.5:
        lines.remove(line)
    return "\n".join(lines)


def _insert(text: str, rng: random.Random) -> str:
    at = rng.choice([m.start() for m in re.finditer(r"[<>]", text)] or [0]) + rng.randint(0, 1)
    return text[:at] + rng.choice(PIECES) + text[at:]


def _remove(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        found = list(re.finditer(r' [a-z_]+="[^"]*"|<[^>]*>', text))
        if found:
            place = rng.choice(found)
            return text[: place.start()] + text[place.end() :]
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.randint(1, 200) :]


def _encode(text: str, rng: random.Random) -> bytes:
    name = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp1252", "klingon"))
    text = re.sub(r'encoding="[^"]*"', f'encoding="{name}"', text, count=1)
    spoken = rng.choice((name, "utf-8", "utf-16")).replace("klingon", "utf-8")
    data = text.encode(spoken, "replace")
    if rng.random() < 0.5:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice((b"\xd8\x00", b"\xff", b"\xed\xa0\x80", b"\0")) + data[at:]
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.choice((b"PK\5\6" + bytes(18), b"<annotations/>", b"\0"))
    at, many = rng.randrange(len(data)), rng.choice((0, 1, 1, 4, 100))
    return data[:at] + rng.randbytes(rng.choice((0, 1, 1, 4))) + data[at + many :]


def _apart(data: bytes) -> list[Member]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()[:100]
            return [(i, archive.read(i)[: 2**20]) for i in found if i.file_size < 2**22]
    except Exception:  # noqa: BLE001 - damaged already: then only its bytes are changed
        return []


def _together(members: list[Member], rng: random.Random) -> bytes:
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for old, content in members:
            info = zipfile.ZipInfo(old.filename, (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = old.external_attr, old.create_system
            archive.writestr(info, content, packing)
        if rng.random() < 0.05:
            archive.comment = rng.choice(
                (b'{"mask_relay": 1, "packed_lists": {"a": [0, 2, "x"]}}', b"PK\5\6", b"[" * 9999)
            )
    return out.getvalue()


def _annotations(members: list[Member], rng: random.Random) -> list[Member]:
    return [(i, xml(content, rng) if i.filename == XML else content) for i, content in members]


def _picture(members: list[Member], rng: random.Random) -> list[Member]:
    places = [n for n, (info, _) in enumerate(members) if info.filename.startswith("images/")]
    if not places:
        return _members(members, rng)
    place = rng.choice(places)
    info, content = members[place]
    if content.startswith(b"\x89PNG") and rng.random() < 0.6:
        content = _png(content, rng)
    else:
        content = _bytes(content, rng) if rng.random() < 0.8 else content[: rng.randint(0, 60)]
    return [*members[:place], (info, content), *members[place + 1 :]]


def _png(data: bytes, rng: random.Random) -> bytes:
    """Change one chunk of a PNG and mend its checksum."""
    chunks = []
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    if kind == b"IHDR" and rng.random() < 0.5:
        size = rng.choice(((20, 10), (0, 10), (20_000, 20_000), (2**31 - 1, 1), (20, 11)))
        content = struct.pack(">2L", *size) + content[8:]
    elif rng.random() < 0.3:
        kind = rng.choice((b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"IDAT", b"IEND"))
    else:
        content = _bytes(content, rng)
    chunks[place : place + rng.randint(0, 1)] = [(kind, content)]
    parts = [data[:8]]
    for kind, content in chunks:
        check = zlib.crc32(kind + content)
        parts.append(struct.pack(">L", len(content)) + kind + content + struct.pack(">L", check))
    return b"".join(parts)


def _members(members: list[Member], rng: random.Random) -> list[Member]:
    change: Callable[[], list[Member]] = rng.choice(
        (
            lambda: [*members, rng.choice(members)],
            lambda: rng.sample(members, len(members) - 1),
            lambda: [*members, (zipfile.ZipInfo(rng.choice(NAMES) or "x"), rng.choice(members)[1])],
            lambda: _renamed(members, rng),
            lambda: [*members, (zipfile.ZipInfo("x.zip"), _together(members, rng))],
            lambda: [*members, *_empty(rng.choice((9, 3000)))],
            lambda: [*members, (zipfile.ZipInfo("x"), bytes(rng.choice((9, 2**21))))],
            lambda: _kind(members, rng),
        )
    )  # fmt: skip
    return change()


def _empty(count: int) -> list[Member]:
    return [(zipfile.ZipInfo(str(number)), b"") for number in range(count)]


def _renamed(members: list[Member], rng: random.Random) -> list[Member]:
    place = rng.randrange(len(members))
    name = zipfile.ZipInfo(rng.choice(NAMES) or "x")
    return [*members[:place], (name, members[place][1]), *members[place + 1 :]]


def _kind(members: list[Member], rng: random.Random) -> list[Member]:
    info = zipfile.ZipInfo("images/link")
    info.create_system = 3
    info.external_attr = rng.choice((0o120777, 0o010644, 0o060644, 0o040755, 0o100644)) << 16
    return [*members, (info, b"/etc/passwd")]


def _headers(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a field of one of the zip's headers, or cut the file."""
    if rng.random() < 0.1:
        return data[: rng.randrange(len(data) + 1)]
    found = list(re.finditer(b"|".join(HEADERS), data))
    if not found:
        return _bytes(data, rng)
    place = rng.choice(found)
    width = rng.choice((1, 2, 4, 8))
    at = place.start() + rng.randrange(4, HEADERS[place[0]])
    near = int.from_bytes(data[at : at + width], "little") + rng.choice((-1, 1, 30, 256))
    number = rng.choice((0, 1, near, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), len(data), at))
    new = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return (data[:at] + new + data[at + width :])[: len(data)]
