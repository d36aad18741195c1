"""Promise: a page can ask for the masks of any frame, and gets exactly those of the archive.

To the pixel, whatever labels are called, in little time, with a sentence for what is not there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

import server
from config import Limits, Settings
from cvat_io.lineage import Lineage
from cvat_io.masks import decode, encode
from cvat_io.model import Mask, MaskShape
from cvat_io.reader import open_export
from tests.web import layered
from tests.web.layered import FRAMES, GONE, HOSTILE, KEYS, LAST
from web.context import KEY

SETTINGS = "settings"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An application whose job 264 has a result; tests here only read."""
    folder = tmp_path_factory.mktemp("done")
    settings = Settings(data_dir=folder / "data", downloads_path=folder / "in", engine="flow")
    app = server.create_app(settings)
    app.testing = False
    layered.done(app.test_client(), settings, app.extensions[KEY].jobs.database, folder)
    yield app
    app.extensions[KEY].jobs.close()


@pytest.fixture
def reader(done: Flask) -> FlaskClient:
    return done.test_client()


def get(client: FlaskClient, path: str, status: int = 200) -> dict:
    answer = client.get(f"/api/jobs/264{path}")
    assert answer.status_code == status, answer.text
    return answer.get_json()


def masks_of(client: FlaskClient, layer: str, first: int = FRAMES[0], last: int = LAST) -> dict:
    told = get(client, f"/layers/{layer}/masks?from={first}&to={last}")
    return {entry["frame"]: entry for entry in told["frames"]}


def pixels(told: dict) -> np.ndarray:
    left, top, width, height = told["box"]
    runs = np.array(told["runs"].split(","), dtype=np.int32)
    canvas = np.zeros((layered.HEIGHT, layered.WIDTH), bool)
    canvas[top : top + height, left : left + width] = decode(Mask(left, top, width, height, runs))
    return canvas


def in_archive(path: Path) -> dict[int, list[tuple[int, MaskShape]]]:
    """The masks of an archive by frame, lowest first, with their objects."""
    found: dict[int, list[tuple[int, MaskShape]]] = {frame: [] for frame in FRAMES}
    with open_export(path, Limits()) as export:
        lineage = Lineage.of(export)
        for shape in export.tracks():
            assert isinstance(shape, MaskShape)
            found[shape.frame].append((lineage.object_of(shape), shape))
    for masks in found.values():
        masks.sort(key=lambda each: each[1].z_order)
    return found


def same_as_archive(told: dict, path: Path) -> int:
    """Compare all frames; returns how many masks there were."""
    there = in_archive(path)
    assert list(told) == list(FRAMES)
    for frame, masks in there.items():
        given = told[frame]["masks"]
        assert [(m["object"], m["label"], m["z"], m["occluded"]) for m in given] == [
            (number, s.label, s.z_order, s.occluded) for number, s in masks
        ]
        for one, (_, shape) in zip(given, masks, strict=True):
            canvas = np.zeros((layered.HEIGHT, layered.WIDTH), bool)
            mask = shape.mask
            view = canvas[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width]
            view[:] = decode(mask)
            assert np.array_equal(pixels(one), canvas)
    return sum(map(len, there.values()))


def test_the_masks_of_a_result_are_those_of_its_archive(done: Flask, reader: FlaskClient) -> None:
    jobs = done.extensions[KEY].jobs
    assert same_as_archive(masks_of(reader, "run-1"), jobs.result("264")) > 12


def test_the_masks_of_a_revision_are_those_of_the_export(done: Flask, reader: FlaskClient) -> None:
    jobs = done.extensions[KEY].jobs
    path = jobs.files.revision("264", 1) / "export.zip"
    told = masks_of(reader, "revision-1")
    assert same_as_archive(told, path) == 4
    assert [frame for frame, entry in told.items() if entry["key"]] == list(KEYS)
    assert {m["object"] for entry in told.values() for m in entry["masks"]} == {0}


def test_frames_without_masks_are_told_too_and_every_range_agrees_with_the_whole(
    reader: FlaskClient,
) -> None:
    whole = masks_of(reader, "run-1")
    assert whole[GONE] == {"frame": GONE, "key": False, "masks": []}
    for first in FRAMES:
        for last in range(first, LAST + 1, 7):
            part = masks_of(reader, "run-1", first, last)
            assert part == {f: e for f, e in whole.items() if first <= f <= last}


def test_a_client_that_unpacks_gets_the_same_text_packed(reader: FlaskClient) -> None:
    for path in ("masks?from=30&to=57", "timeline"):
        address = f"/api/jobs/264/layers/run-1/{path}"
        plain = reader.get(address)
        short = reader.get(address, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert "Content-Encoding" not in plain.headers
        assert short.headers["Content-Encoding"] == "deflate"
        assert zlib.decompress(short.data) == plain.data
        assert plain.headers["Vary"] == short.headers["Vary"] == "Accept-Encoding"


def test_scores_are_those_of_the_report_and_key_frames_have_none(
    done: Flask, reader: FlaskClient
) -> None:
    report = json.loads(done.extensions[KEY].jobs.report("264").read_text())
    said = {(e["frame"], e["object"]): e for e in report["divergence"] if not e.get("gone")}
    told = {
        (frame, m["object"]): m
        for frame, entry in masks_of(reader, "run-1").items()
        for m in entry["masks"]
    }
    assert said
    for place, mask in told.items():
        if place in said:
            assert mask["score"] == pytest.approx(said[place]["score"], abs=1e-4)
            assert mask["why"] == said[place]["why"]
        else:
            assert place[0] in KEYS
            assert "score" not in mask
            assert "why" not in mask


def test_the_timeline_says_what_is_where(done: Flask, reader: FlaskClient) -> None:
    told = get(reader, "/layers/run-1/timeline")
    report = json.loads(done.extensions[KEY].jobs.report("264").read_text())
    masks = masks_of(reader, "run-1")
    assert (told["first"], told["last"], told["step"], told["count"]) == (30, 57, 3, 10)
    assert told["key_frames"] == list(KEYS)
    assert [lane["object"] for lane in told["objects"]] == [1, 2]
    for lane in told["objects"]:
        presence = base64.b64decode(lane["presence"])
        scores = base64.b64decode(lane["scores"])
        assert len(presence) == len(scores) == 10
        for index, frame in enumerate(FRAMES):
            mine = [m for m in masks[frame]["masks"] if m["object"] == lane["object"]]
            assert presence[index] == (0 if not mine else 2 if frame in KEYS else 1)
            if mine and "score" in mine[0]:
                assert scores[index] == round(mine[0]["score"] * 254)
    assert told["next"] == (
        None if report["next_frame"] is None else {"run": 1, **report["next_frame"]}
    )
    doubtful = {e["frame"] for e in report["divergence"] if e["score"] >= 0.5}
    assert told["flagged"] == len(doubtful)


def test_the_timeline_of_a_revision_has_a_lane_for_each_label(reader: FlaskClient) -> None:
    told = get(reader, "/layers/revision-1/timeline")
    assert [(lane["object"], lane["label"]) for lane in told["objects"]] == [
        (0, HOSTILE),
        (0, "car"),
    ]
    assert told["worst"] == []
    assert told["next"] is None
    for lane in told["objects"]:
        presence = base64.b64decode(lane["presence"])
        assert [FRAMES[i] for i, byte in enumerate(presence) if byte == 2] == list(KEYS)
        assert set(base64.b64decode(lane["scores"])) == {255}


def test_layers_are_listed_and_the_newest_result_comes_first(reader: FlaskClient) -> None:
    told = get(reader, "/layers")
    names = [(each["name"], each["kind"]) for each in told["layers"]]
    assert names[0] == ("run-1", "run")
    assert names[-1] == ("revision-1", "revision")
    assert told["default"] == "run-1"
    assert told["layers"][0]["title"] == "Run 1, initial segmentation"


def test_hostile_labels_are_data(reader: FlaskClient) -> None:
    raw = reader.get("/api/jobs/264/layers/run-1/masks?from=30&to=30")
    assert raw.mimetype == "application/json"
    assert raw.headers["X-Content-Type-Options"] == "nosniff"
    assert HOSTILE in {m["label"] for m in raw.get_json()["frames"][0]["masks"]}
    labels = get(reader, "/frames")["labels"]
    assert [each["name"] for each in labels] == [HOSTILE, "car"]
    assert labels[0]["color"] == "#ff8000"
    assert labels[1]["color"].startswith("#")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "add from=0&to=49"),
        ("?from=30", "to is missing"),
        ("?from=57&to=30", "run backward"),
        ("?from=0&to=57", "frames 30 to 57 in steps of 3"),
        ("?from=30&to=60", "frames 30 to 57 in steps of 3"),
        ("?from=x&to=60", "give a whole number"),
        ("?from=-1&to=60", "give a whole number"),
    ],
)
def test_frames_that_cannot_be_given_are_refused_with_a_sentence(
    reader: FlaskClient, query: str, said: str
) -> None:
    assert said in get(reader, f"/layers/run-1/masks{query}", 400)["error"]


@pytest.mark.parametrize(
    "layer",
    ["run-2", "run-1-forwards", "revision-2", "session", "nonsense", "run-99999999999", "run-1%00"],
)
def test_layers_that_are_not_there_are_a_sentence(reader: FlaskClient, layer: str) -> None:
    for path in ("masks?from=30&to=30", "timeline"):
        error = get(reader, f"/layers/{layer}/{path}", 404)["error"]
        assert error.endswith(".")
        assert "Traceback" not in error


def test_an_unknown_job_is_a_sentence(reader: FlaskClient) -> None:
    for path in ("layers", "layers/run-1/timeline", "frames", "frames/1.jpg", "picture.jpg"):
        answer = reader.get(f"/api/jobs/none/{path}")
        assert answer.status_code == 404
        assert 'no job "none"' in answer.get_json()["error"]


def test_no_answer_holds_more_than_200_frames(client: FlaskClient, tmp_path: Path) -> None:
    from cvat_io.build import write_export

    mask = encode(np.ones((4, 4), bool))
    assert mask is not None
    write_export(
        tmp_path / "long.zip",
        frames=[(f, layered.picture(0)) for f in range(2)],
        width=64, height=48, labels=layered.LABELS, stop_frame=999,
        masks=[MaskShape(frame=0, label="car", mask=mask)],
    )  # fmt: skip
    client.post("/api/jobs?name=264.zip", data=(tmp_path / "long.zip").read_bytes())
    assert len(masks_of(client, "revision-1", 0, 199)) == 200
    error = get(client, "/layers/revision-1/masks?from=0&to=200", 400)["error"]
    assert "201 frames" in error
    assert "at most 200" in error


def test_masks_may_stand_in_any_order_in_an_export(
    client: FlaskClient, app: Flask, tmp_path: Path
) -> None:
    data = layered.export(tmp_path / "mixed.zip", reverse=True)
    client.post("/api/jobs?name=264.zip", data=data)
    path = app.extensions[KEY].jobs.files.revision("264", 1) / "export.zip"
    assert same_as_archive(masks_of(client, "revision-1"), path) == 4


def test_an_answer_that_a_browser_has_is_not_sent_again(reader: FlaskClient) -> None:
    address = "/api/jobs/264/layers/run-1/masks?from=30&to=57"
    first = reader.get(address)
    again = reader.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


def test_a_re_segmentation_says_what_it_carried_over(
    client: FlaskClient, app: Flask, settings: Settings, tmp_path: Path
) -> None:
    database = app.extensions[KEY].jobs.database
    layered.done(client, settings, database, tmp_path)
    client.post("/api/jobs?name=264.zip", data=layered.export(tmp_path / "again.zip", shift=1))
    assert client.get("/api/jobs/264/layers").get_json()["default"] == "run-1"
    number = layered.run(
        client, settings, database, "264", mode="resegment", reuse_previous=True, frames="51"
    )
    told = get(client, f"/layers/run-{number}/timeline")
    states = {b for lane in told["objects"] for b in base64.b64decode(lane["presence"])}
    assert states <= {0, 1, 2, 3}
    layers = get(client, "/layers")
    assert layers["default"] == f"run-{number}"
    assert [each["title"] for each in layers["layers"] if each["kind"] == "run"] == [
        f"Run {number}, re-segmentation",
        "Run 1, initial segmentation",
    ]


def test_differences_between_two_layers_are_told(reader: FlaskClient) -> None:
    told = get(reader, "/differences?a=revision-1&b=run-1")
    masks = masks_of(reader, "run-1")
    added = [frame for frame in FRAMES if masks[frame]["masks"] and frame not in KEYS]
    assert told["same"] == len(FRAMES) - len(added)
    assert {(each["kind"], each["iou"]) for each in told["objects"]} == {("added", None)}
    assert sorted(each["object"] for each in told["objects"]) == [1, 2]
    assert get(reader, "/differences?a=run-1&b=run-1")["objects"] == []
    assert get(reader, "/differences?a=revision-1&b=run-1") == told  # from what was kept


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?a=run-1", 400), ("?a=run-1&b=run-7", 404), ("?a=../x&b=run-1", 404)],
)
def test_differences_of_what_is_not_there_are_a_sentence(
    reader: FlaskClient, query: str, status: int
) -> None:
    assert get(reader, f"/differences{query}", status)["error"].endswith(".")


def test_a_derived_file_that_is_damaged_or_gone_is_made_anew(
    client: FlaskClient, app: Flask, settings: Settings, tmp_path: Path
) -> None:
    layered.done(client, settings, app.extensions[KEY].jobs.database, tmp_path)
    before = masks_of(client, "run-1")
    (path,) = (settings.data_dir / "cache/264/layers").glob("run-1.*")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert masks_of(client, "run-1") == before
    path.unlink()
    assert masks_of(client, "run-1") == before
    assert path.read_bytes() == whole
