"""Promise: a page can show every frame of a job, as it is or small, and is told why where it can't.

Pictures are those of the export, are never scaled up nor turned, and are fetched once.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

import server
from config import Limits, Settings
from cvat_io.build import write_export
from tests.web import layered
from tests.web.layered import FRAMES, GONE, HEIGHT, KEYS, WIDTH
from web.context import KEY

FOR_EVER = "private, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def app_with_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An application whose job 264 has a revision; tests here only read."""
    folder = tmp_path_factory.mktemp("pictures")
    app = server.create_app(Settings(data_dir=folder / "data", downloads_path=folder / "in"))
    app.testing = False
    data = layered.export(folder / "264.zip")
    app.test_client().post("/api/jobs?name=264.zip", data=data)
    yield app
    app.extensions[KEY].jobs.close()


@pytest.fixture
def reader(app_with_job: Flask) -> FlaskClient:
    return app_with_job.test_client()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def put(client: FlaskClient, folder: Path, files: dict[int, bytes], name: str = "264.zip") -> dict:
    """Send an export with these image files, and a mask on frame 30."""
    path = folder / name
    write_export(
        path,
        frames=sorted(files.items()),
        width=WIDTH,
        height=HEIGHT,
        labels=layered.LABELS,
        masks=[layered.shape(30, "car", 30, 24)],
        start_frame=30,
        stop_frame=57,
        step=3,
    )
    answer = client.post(f"/api/jobs?name={name}", data=path.read_bytes())
    assert answer.status_code == 201
    return answer.get_json()


def test_a_frame_is_the_very_file_of_the_export(reader: FlaskClient) -> None:
    for frame in FRAMES:
        if frame != GONE:
            answer = reader.get(f"/api/jobs/264/frames/{frame}.jpg")
            assert answer.data == layered.picture(frame)
            assert answer.mimetype == "image/png"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_width_scales_down_and_never_up(reader: FlaskClient) -> None:
    small = reader.get("/api/jobs/264/frames/30.jpg?width=32")
    assert small.mimetype == "image/jpeg"
    assert opened(small.data).shape == (24, 32, 3)
    whole = opened(reader.get("/api/jobs/264/frames/30.jpg?width=4000").data)
    assert whole.shape == (HEIGHT, WIDTH, 3)
    true = opened(layered.picture(30))
    assert np.abs(whole.astype(int) - true).mean() < 10


def test_a_scaled_frame_is_made_once_and_then_kept(
    app_with_job: Flask, reader: FlaskClient
) -> None:
    first = reader.get("/api/jobs/264/frames/33.jpg?width=32")
    kept = list((app_with_job.extensions[KEY].settings.data_dir / "cache/264").rglob("32/33.jpg"))
    assert [path.read_bytes() for path in kept] == [first.data]
    assert reader.get("/api/jobs/264/frames/33.jpg?width=32").data == first.data


def test_whatever_widths_are_asked_for_few_are_kept(
    app_with_job: Flask, reader: FlaskClient
) -> None:
    """So that nobody can fill the disk with one frame."""
    for path, name in (("frames/36", "frames/*/*/36.jpg"), ("picture", "thumbnails/*.jpg")):
        tags = set()
        for width in [*range(16, 500, 7), 1300, 5000, 8192]:
            answer = reader.get(f"/api/jobs/264/{path}.jpg?width={width}")
            assert opened(answer.data).shape[1] >= min(width, WIDTH)
            tags.add(answer.headers["ETag"])
        cache = app_with_job.extensions[KEY].settings.data_dir / "cache/264"
        assert len(tags) == len(list(cache.glob(name))) == 8


def test_what_the_browser_has_is_not_sent_again(reader: FlaskClient) -> None:
    version = reader.get("/api/jobs/264/frames").get_json()["version"]
    for query in ("", "width=32&"):
        path = f"/api/jobs/264/frames/30.jpg?{query}v={version}"
        answer = reader.get(path)
        assert answer.headers["Cache-Control"] == FOR_EVER
        again = reader.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        assert again.data == b""
    for query in ("", "?v=older"):
        answer = reader.get(f"/api/jobs/264/frames/30.jpg{query}")
        assert answer.headers["Cache-Control"] == "private, no-cache"
    drawn = reader.get(f"/api/jobs/264/frames/30.jpg?layer=revision-1&v={version}")
    assert drawn.headers["Cache-Control"] == "private, no-cache"  # a layer's file is another thing


def test_the_frames_of_a_job_are_told(reader: FlaskClient) -> None:
    told = reader.get("/api/jobs/264/frames").get_json()
    assert (told["first"], told["last"], told["step"]) == (30, 57, 3)
    assert (told["width"], told["height"]) == (WIDTH, HEIGHT)
    assert told["missing"] == str(GONE)


def test_a_frame_without_an_image_and_one_of_no_job_are_sentences(reader: FlaskClient) -> None:
    for name, said in (
        (f"{GONE}.jpg", "has no image"),
        ("31.jpg", "frames 30 to 57 in steps of 3"),
        ("999999999.jpg", "frames 30 to 57"),
        ("99999999999999999999.jpg", "give its number"),
        ("x.jpg", "give its number"),
        ("-3.jpg", "give its number"),
    ):
        answer = reader.get(f"/api/jobs/264/frames/{name}")
        assert answer.status_code == 404
        assert said in answer.get_json()["error"]


@pytest.mark.parametrize("width", ["8", "9000", "-1", "wide", "1e3"])
def test_a_width_that_cannot_be_is_a_sentence(reader: FlaskClient, width: str) -> None:
    for path in ("frames/30.jpg", "picture.jpg"):
        answer = reader.get(f"/api/jobs/264/{path}?width={width}")
        assert answer.status_code == 400
        assert "16 to 8192" in answer.get_json()["error"]


def test_masks_are_drawn_where_they_are_in_their_colour(reader: FlaskClient) -> None:
    plain = opened(reader.get("/api/jobs/264/frames/30.jpg?width=64").data).astype(int)
    drawn = opened(reader.get("/api/jobs/264/frames/30.jpg?width=64&layer=revision-1").data)
    far = np.abs(drawn.astype(int) - plain).mean(axis=2)
    assert far[26:36, 32:42].mean() > 25  # the disc of "car"
    assert far[40:, :20].mean() < 12  # where there is none, but for JPEG
    orange = drawn[4, 8:13].mean(axis=0)  # the outline of the other one, #ff8000
    assert orange[0] > orange[1] > orange[2]


def test_the_thumbnail_is_the_first_key_frame_with_its_masks(reader: FlaskClient) -> None:
    answer = reader.get("/api/jobs/264/picture.jpg?width=32")
    drawn = reader.get(f"/api/jobs/264/frames/{KEYS[0]}.jpg?width=32&layer=revision-1")
    assert answer.mimetype == "image/jpeg"
    assert answer.data == drawn.data
    assert reader.get("/api/jobs/264/picture.jpg?width=32").data == answer.data
    again = reader.get(
        "/api/jobs/264/picture.jpg?width=32", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304


def test_a_new_revision_has_a_new_thumbnail(client: FlaskClient, tmp_path: Path) -> None:
    client.post("/api/jobs?name=264.zip", data=layered.export(tmp_path / "one.zip"))
    first = client.get("/api/jobs/264/picture.jpg")
    client.post("/api/jobs?name=264.zip", data=layered.export(tmp_path / "two.zip", shift=9))
    second = client.get(
        "/api/jobs/264/picture.jpg", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert second.status_code == 200
    assert second.data != first.data


def test_a_revision_without_images_is_shown_on_those_of_an_earlier_one(
    client: FlaskClient, tmp_path: Path
) -> None:
    client.post("/api/jobs?name=264.zip", data=layered.export(tmp_path / "one.zip"))
    bare = layered.export(tmp_path / "two.zip", shift=3, images=False)
    client.post("/api/jobs?name=264.zip", data=bare)
    assert client.get("/api/jobs/264/frames").get_json()["missing"] == str(GONE)
    assert client.get("/api/jobs/264/frames/30.jpg").data == layered.picture(30)
    assert client.get("/api/jobs/264/picture.jpg").status_code == 200


def test_a_job_whose_export_was_refused_has_no_picture_but_a_sentence(
    client: FlaskClient, tmp_path: Path
) -> None:
    bare = layered.export(tmp_path / "bare.zip", images=False)
    job = client.post("/api/jobs?name=264.zip", data=bare).get_json()
    assert job["state"] == "failed"
    for path in ("picture.jpg", "frames", "frames/30.jpg"):
        answer = client.get(f"/api/jobs/264/{path}")
        assert answer.status_code == 404
        assert answer.get_json()["error"].endswith(".")


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(layered.picture(30))).save(file, kind, **options)
    return file.getvalue()


def test_a_picture_that_a_browser_would_turn_comes_as_it_is_stored(
    client: FlaskClient, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    put(client, tmp_path, {30: encoded("JPEG", exif=exif, quality=95), 33: layered.picture(33)})
    answer = client.get("/api/jobs/264/frames/30.jpg")
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.size == (WIDTH, HEIGHT)
    assert 0x0112 not in picture.getexif()


def test_a_tiff_which_no_browser_shows_comes_as_jpeg(client: FlaskClient, tmp_path: Path) -> None:
    put(client, tmp_path, {30: encoded("TIFF"), 33: layered.picture(33)})
    answer = client.get("/api/jobs/264/frames/30.jpg")
    assert answer.mimetype == "image/jpeg"
    assert opened(answer.data).shape == (HEIGHT, WIDTH, 3)


def test_a_damaged_picture_is_a_sentence(client: FlaskClient, tmp_path: Path) -> None:
    torn = layered.picture(33)[:-900]
    put(client, tmp_path, {30: layered.picture(30), 33: torn})
    for query in ("?width=32", "?width=64"):
        answer = client.get(f"/api/jobs/264/frames/33.jpg{query}")
        assert answer.status_code == 400
        assert "frame 33" in answer.get_json()["error"]


def test_an_archive_that_rots_on_the_disk_is_a_sentence(
    client: FlaskClient, app: Flask, tmp_path: Path
) -> None:
    put(client, tmp_path, {30: layered.picture(30), 33: layered.picture(33)})
    path = app.extensions[KEY].jobs.files.revision("264", 1) / "export.zip"
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("images/frame_000033.PNG").header_offset
    with path.open("r+b") as file:
        file.seek(offset + 200)
        file.write(b"\0" * 60)
    answer = client.get("/api/jobs/264/frames/33.jpg")
    assert answer.status_code == 400
    assert "damaged" in answer.get_json()["error"]


def test_pictures_beyond_the_limit_are_not_decoded(
    settings: Settings, make_app: object, tmp_path: Path
) -> None:
    app = make_app(settings)  # type: ignore[operator]
    put(app.test_client(), tmp_path, {30: layered.picture(30)})
    small = replace(settings, limits=Limits(image_pixels=WIDTH * HEIGHT - 1))
    client = make_app(small).test_client()  # type: ignore[operator]
    answer = client.get("/api/jobs/264/frames/30.jpg?width=32")
    assert answer.status_code == 400
    assert "MAX_IMAGE_PIXELS" in answer.get_json()["error"]


def test_a_deleted_job_leaves_nothing_derived(
    client: FlaskClient, app: Flask, tmp_path: Path
) -> None:
    put(client, tmp_path, {30: layered.picture(30)})
    client.get("/api/jobs/264/picture.jpg")
    folder = app.extensions[KEY].settings.data_dir / "cache" / "264"
    assert any(folder.rglob("*.jpg"))
    client.delete("/api/jobs/264")
    assert not folder.exists()
