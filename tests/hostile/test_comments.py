"""Promise: nothing that a zip's comment holds breaks a job or a command: at worst it says nothing.

A result's note says which object each mask shows and which frames are key frames. Anybody can
write one.
"""

from __future__ import annotations

import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from config import Limits
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from jobs.ours import Origins
from tests.cvat_io.cvat_samples import document, images, job, mask, track, write_zip
from tests.hostile.conftest import House, one_sentence

NOTE = b'{"mask_relay":1,"key_frames":"1,3","objects":%s}'
OBJECTS = {
    "infinite": b"[Infinity,1]",
    "no number": b"[0,NaN]",
    "beyond a float": b"[0,1e400]",
    "a fraction": b"[0,2.5]",
    "huge": b"[0,1" + b"0" * 4000 + b"]",
    "more digits than are read": b"[0,1" + b"0" * 5000 + b"]",
    "more than a database holds": b"[0,%d]" % 2**31,
    "as many as can be": b"[0,%d]" % 2**30,
    "a huge first id": b"[%d,2]" % (2**62 - 1),
    "negative": b"[-5,2]",
    "truth": b"[true,true]",
    "texts": b'["0","2"]',
    "a text": b'"02"',
    "a number": b"7",
    "nothing": b"null",
    "one number": b"[2]",
    "names": b'{"0":0,"2":2}',
    "lists": b"[[0],[2]]",
    "nested": b"[" * 30_000 + b"]" * 30_000,
    "nested less": b"[" * 300 + b"]" * 300,
}
COMMENTS = {
    **{f"objects: {name}": NOTE % objects for name, objects in OBJECTS.items()},
    "key frames: a text": b'{"mask_relay":1,"key_frames":"x","objects":[0,2]}',
    "key frames: a list": b'{"mask_relay":1,"key_frames":[1,3],"objects":[0,2]}',
    "key frames: nested": b'{"mask_relay":1,"key_frames":%s}' % (b"[" * 300 + b"]" * 300),
    "key frames: outside": b'{"mask_relay":1,"key_frames":"0-999999999","objects":[0,2]}',
    "drawn: a list": b'{"mask_relay":1,"objects":[0,2],"drawn":[1,3]}',
    "drawn: backward": b'{"mask_relay":1,"objects":[0,2],"drawn":"9-3"}',
    "drawn: far too much": b'{"mask_relay":1,"objects":[0,2],"drawn":"0-1999999"}',
    "part: truth": b'{"mask_relay":1,"part":true,"objects":[0,2]}',
    "part: infinite": b'{"mask_relay":1,"part":Infinity,"objects":[0,2]}',
    "packed: no numbers": b'{"mask_relay":1,"packed_lists":{"key_frames":[1e308,1e308,"0"]}}',
    "full": b'{"mask_relay":1,"x":"%s"}' % (b"x" * 65_510),
    "no note": b"\xff\x00",
}
NINES = "9" * 5000
MASKS = (
    track(mask(1), 11),
    track(mask(1, left=8), "011"),  # a second mask of the same object and frame
    track(mask(2) + mask(2, top=7), 12),
    track(mask(3), NINES),
    track(mask(3, left=9), "\u0662\u0663"),
    track(mask(4), -7),
)


@pytest.fixture(params=COMMENTS)
def commented(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An export of sound masks whose comment is a stranger's."""
    members = {"annotations.xml": document(job(), *MASKS), **images(*range(10))}
    path = write_zip(tmp_path / "x.zip", members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = COMMENTS[request.param]
    return path


def test_a_job_with_any_comment_can_be_looked_at_and_planned(house: House, commented: Path) -> None:
    sent = house.send("strange.zip", commented.read_bytes())
    assert sent["state"] == "ready"
    layer = f"revision-{sent['revision']['number']}"
    base, get, post = "/api/jobs/strange", house.client.get, house.client.post
    for page in (
        "/jobs/strange",
        f"{base}/layers/{layer}/masks?from=0&to=9",
        f"{base}/layers/{layer}/timeline",
        f"{base}/picture.jpg",
        f"{base}/session",
        f"{base}/session/frames/1",
        f"{base}/session/frames/2",
    ):
        assert get(page).status_code == 200, page
    assert post(f"{base}/plan", json={"mode": "initial"}).status_code == 200
    added = post(f"{base}/session/objects", json={"action": "add", "label": "car"})
    assert added.status_code == 200, added.text
    number = get(f"{base}/session").json["objects"][0]["number"]
    edit = {"frame": 5, "masks": [{"object": number, "mask": None}]}
    assert post(f"{base}/session/edit", json=edit).status_code == 200
    accepted = post(f"{base}/session/accept", json={})
    assert accepted.status_code == 200, accepted.text
    assert house.client.delete(base).status_code == 204
    house.unharmed()


def test_a_short_comment_never_takes_much_memory(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"annotations.xml": document(job(), *MASKS)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = COMMENTS["drawn: far too much"]
    with open_export(path, Limits()) as export:
        first = next(iter(export.tracks()))
        tracemalloc.start()
        origins = Origins.of(export)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert isinstance(first, MaskShape)
    assert not origins.made(replace(first, source="auto")), "the note says that it was drawn"
    assert peak < 10**6


def test_commands_take_any_comment_or_say_what_is_wrong_with_it(
    commented: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x, out = str(commented), tmp_path / "out"
    for number, verb in enumerate(
        (
            ["check", x],
            ["check", x, "--previous", x, "--frames", "2"],
            ["check", "--result", x],
            ["export", x, "--format", "polygons"],
            ["export", x, "--format", "coco"],
            ["export", x, "--format", "cvat", "--shard-mb", "1"],
        )
    ):
        capfd.readouterr()
        given = [*verb, "--out", f"{out}{number}"] if verb[0] == "export" else verb
        code = cli.main(given)
        said = capfd.readouterr()
        assert code in (0, 1, 2, 3), verb
        assert "Traceback" not in said.err, verb
        if code == 2:
            one_sentence(said.err)
