"""Promise: a video or a folder of images becomes a job, whole or not at all, without CVAT.

Its frames are those that the person gave, in their order; nothing outside SEQUENCES_PATH is read,
and a hostile file ends in one sentence.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from config import Limits, Settings
from cvat_io.archive import Archive
from cvat_io.reader import open_export
from cvat_io.sequence import Found, SequenceKind
from errors import ConflictError, InputError, NotFoundError
from jobs import sequence_child
from jobs.files import hash_file
from jobs.options import RunOptions
from jobs.sequences import SequenceView
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.sequences import (
    HEIGHT,
    WIDTH,
    image_bytes,
    make_folder,
    make_video,
    picture,
    settled,
    zip_of,
)
from tracker.frames import ZipFrames
from tracker.video import VideoFrames


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        downloads_path=tmp_path / "downloads",
        sequences_path=tmp_path / "sequences",
        results_path=tmp_path / "results",
    )


@pytest.fixture
def root(settings: Settings) -> Path:
    settings.sequences_path.mkdir()
    return settings.sequences_path


def opened(jobs: Jobs, name: str) -> SequenceView:
    jobs.sequences.open(name)
    return settled(jobs.sequences, name)


def frames_of(jobs: Jobs, job_id: str, revision: int = 1) -> list[np.ndarray]:
    path = jobs.files.revision(job_id, revision) / "export.zip"
    with open_export(path, Limits()) as export:
        members = list(export.images.values())
    with ZipFrames(path, members) as frames:
        return [frames.read(index) for index in range(len(frames))]


def test_a_folder_of_images_becomes_a_job_with_the_very_files_in_natural_order(
    jobs: Jobs, root: Path
) -> None:
    folder = make_folder(root / "hand", 12)
    view = opened(jobs, "hand")
    assert (view.state, view.job, view.frames, view.error) == ("ready", "_hand", 12, "")
    job = jobs.job("_hand").job
    assert (job.kind, job.state, job.name) == ("sequence", JobState.READY, "hand")
    assert (job.revision.width, job.revision.height) == (WIDTH, HEIGHT)
    assert [label.name for label in job.revision.labels] == ["left", "right", "object"]
    path = jobs.files.revision("_hand", 1) / "export.zip"
    with open_export(path, Limits()) as export, Archive(path, Limits()) as archive:
        kept = [archive.open(name).read() for name in export.images.values()]
    assert kept == [(folder / f"{number}.png").read_bytes() for number in range(1, 13)]


def test_frame_i_of_a_video_is_the_one_that_the_tracker_counts_as_i(jobs: Jobs, root: Path) -> None:
    video = make_video(root / "clip.mp4", 30)
    assert opened(jobs, "clip.mp4").frames == 30
    ours = frames_of(jobs, "_clip.mp4")
    with VideoFrames(video) as frames:
        theirs = [frames.read(index).astype(int) for index in range(len(frames))]
    assert len(ours) == len(theirs)
    for index, image in enumerate(ours):
        apart = [np.abs(image - other).mean() for other in theirs]
        assert int(np.argmin(apart)) == index
        assert apart[index] < 3


def test_a_video_that_was_filmed_upright_stands_upright(jobs: Jobs, root: Path) -> None:
    video = make_video(root / "phone.mp4", 2)
    data = bytearray(video.read_bytes())
    matrix = data.find(b"tkhd") + 44
    # What a phone writes that is held upright: turn the stored frame a quarter clockwise.
    turned = (0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turned)
    video.write_bytes(data)
    view = opened(jobs, "phone.mp4")
    assert (view.width, view.height) == (HEIGHT, WIDTH)
    stored = np.rot90(picture(1), -1)
    assert np.abs(frames_of(jobs, "_phone.mp4")[1].astype(int) - stored).mean() < 6


def test_opening_again_makes_nothing_and_the_same_source_gives_the_same_bytes(
    jobs: Jobs, root: Path
) -> None:
    make_folder(root / "hand")
    opened(jobs, "hand")
    before = hash_file(jobs.files.revision("_hand", 1) / "export.zip")
    assert jobs.sequences.open("hand").state == "ready"
    for file in (root / "hand").iterdir():  # copied anew: other times, the same content
        os.utime(file, ns=(1, 1))
    assert opened(jobs, "hand").state == "ready"
    assert jobs.job("_hand").job.revision.number == 1
    assert hash_file(jobs.files.revision("_hand", 1) / "export.zip") == before
    assert jobs.sequences.open("hand").state == "ready"
    assert list(jobs.files.tmp.iterdir()) == []


def test_a_sequence_that_changed_on_disk_is_a_new_revision(jobs: Jobs, root: Path) -> None:
    make_folder(root / "hand", 5)
    opened(jobs, "hand")
    make_folder(root / "hand", 7, first=3)
    assert opened(jobs, "hand").frames == 7
    assert jobs.job("_hand").job.revision.number == 2


def test_a_name_that_is_no_plain_word_gets_a_safe_id_and_meets_no_export(
    jobs: Jobs, root: Path, export: Path
) -> None:
    make_folder(root / "Ünï cödé & more")
    view = opened(jobs, "Ünï cödé & more")
    assert view.job.startswith("_")
    assert view.job.isascii()
    assert jobs.job(view.job).job.name == "Ünï cödé & more"
    with export.open("rb") as stream:
        assert jobs.receive(f"{view.job}.zip", stream).id != view.job


def test_what_is_hidden_leads_outside_or_is_no_picture_is_not_offered(
    jobs: Jobs, root: Path, tmp_path: Path
) -> None:
    outside = make_folder(tmp_path / "outside")
    make_video(tmp_path / "outside.mp4")
    (root / "link").symlink_to(outside)
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "circle").symlink_to("circle")
    make_folder(root / ".hidden")
    (root / "empty").mkdir()
    (root / "notes.txt").write_text("text")
    os.mkfifo(root / "pipe.mp4")
    make_folder(root / "inside")
    (root / "alias").symlink_to("inside")
    assert [view.name for view in jobs.sequences.list_sequences()] == ["alias", "inside"]
    for name in ("link", "link.mp4", "../outside", ".hidden", "/etc", "", "..", "pipe.mp4", "a\0"):
        with pytest.raises(NotFoundError):
            jobs.sequences.open(name)


def test_a_link_in_a_folder_to_an_image_outside_is_passed_over(
    jobs: Jobs, root: Path, tmp_path: Path
) -> None:
    folder = make_folder(root / "hand", 3)
    secret = tmp_path / "secret.png"
    secret.write_bytes(image_bytes(9))
    (folder / "0.png").symlink_to(secret)
    (folder / ".thumb.png").write_bytes(image_bytes(8))
    assert opened(jobs, "hand").frames == 3


def test_images_of_two_sizes_are_refused_with_the_name_and_leave_nothing(
    jobs: Jobs, root: Path
) -> None:
    folder = make_folder(root / "hand", 3)
    (folder / "4.png").write_bytes(image_bytes(4, width=60, height=48))
    view = opened(jobs, "hand")
    assert view.state == "failed"
    assert '"4.png" has 60 x 48 pixels' in view.error
    with pytest.raises(NotFoundError):
        jobs.job("_hand")
    assert list(jobs.files.tmp.iterdir()) == []
    (folder / "4.png").unlink()
    assert opened(jobs, "hand").state == "ready"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no video at all", "cannot be opened as a video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "cannot be opened"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be opened"),
    ],
)
def test_a_file_that_only_says_that_it_is_a_video_is_refused(
    jobs: Jobs, root: Path, content: bytes, words: str
) -> None:
    (root / "clip.mp4").write_bytes(content)
    view = opened(jobs, "clip.mp4")
    assert view.state == "failed"
    assert words in view.error
    assert str(root) not in view.error


def test_frames_beyond_the_limits_are_refused(settings: Settings, root: Path) -> None:
    make_video(root / "clip.mp4", 20)
    make_folder(root / "hand", 20)
    for limits, words in (
        (Limits(image_pixels=1000), "MAX_IMAGE_PIXELS"),
        (Limits(archive_members=10), "MAX_ARCHIVE_MEMBERS"),
        (Limits(archive_bytes=2000), "MAX_ARCHIVE_BYTES"),
    ):
        jobs = Jobs(replace(settings, limits=limits))
        for name in ("clip.mp4", "hand"):
            view = opened(jobs, name)
            assert view.state == "failed"
            assert words in view.error
        jobs.close()


def test_a_video_is_uploaded_and_read(jobs: Jobs, tmp_path: Path) -> None:
    data = make_video(tmp_path / "mine.mp4", 6).read_bytes()
    jobs.sequences.receive("mine.mp4", io.BytesIO(data), len(data))
    view = settled(jobs.sequences, "mine.mp4")
    assert (view.state, view.origin, view.frames) == ("ready", "upload", 6)
    assert [each.name for each in jobs.sequences.list_sequences("MINE")] == ["mine.mp4"]
    assert not list((jobs.settings.data_dir / "making").glob("*.source"))


def test_a_zip_of_images_is_uploaded_and_read_without_what_is_hidden(jobs: Jobs) -> None:
    data = zip_of(
        {
            "frames/10.jpg": image_bytes(10, "JPEG"),
            "frames/9.png": image_bytes(9),
            "__MACOSX/frames/._9.png": b"junk",
            "frames/.thumb.png": b"junk",
            "readme.txt": b"text",
        }
    )
    jobs.sequences.receive("frames.zip", io.BytesIO(data))
    assert settled(jobs.sequences, "frames").frames == 2
    first, second = frames_of(jobs, "_frames")
    assert np.array_equal(first, picture(9))
    assert np.abs(second.astype(int) - picture(10)).mean() < 10


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"x", "neither a video nor a zip"),
        ("../a.mp4", b"x", "no name for a sequence"),
        ("a.zip", b"x", "no zip archive"),
        ("a.mp4", b"", "is empty"),
        (".zip", b"PK", "neither a video nor a zip"),
    ],
)
def test_other_files_are_refused_at_once(jobs: Jobs, name: str, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        jobs.sequences.receive(name, io.BytesIO(data))
    assert jobs.sequences.list_sequences() == ()


def test_an_export_of_cvat_is_led_to_the_dashboard(jobs: Jobs, export: Path) -> None:
    with export.open("rb") as stream:
        jobs.sequences.receive("264.zip", stream)
    view = settled(jobs.sequences, "264")
    assert view.state == "failed"
    assert "dashboard" in view.error
    jobs.sequences.forget("264")
    assert jobs.sequences.list_sequences() == ()


def test_a_name_of_the_folder_is_not_taken_by_an_upload(jobs: Jobs, root: Path) -> None:
    data = make_video(root / "clip.mp4").read_bytes()
    with pytest.raises(ConflictError, match="another name"):
        jobs.sequences.receive("clip.mp4", io.BytesIO(data))


def test_a_server_that_stops_while_it_reads_leaves_a_sentence_and_the_upload(
    settings: Settings, tmp_path: Path
) -> None:
    data = make_video(tmp_path / "long.mp4", 40).read_bytes()
    jobs = Jobs(settings)
    jobs.sequences.receive("long.mp4", io.BytesIO(data))
    jobs.close()
    again = Jobs(settings)
    view = settled(again.sequences, "long.mp4")
    assert view.state == "failed"
    assert "open it again" in view.error
    view = opened(again, "long.mp4")
    assert (view.state, view.frames) == ("ready", 40)
    again.close()


def test_a_run_says_where_to_draw_while_nothing_is_drawn(jobs: Jobs, root: Path) -> None:
    make_folder(root / "hand")
    opened(jobs, "hand")
    with pytest.raises(ConflictError, match="studio"):
        jobs.start_run("_hand", RunOptions(engine="flow"))


def test_a_picture_is_shown_before_a_sequence_is_opened(jobs: Jobs, root: Path) -> None:
    make_folder(root / "hand")
    make_video(root / "clip.mp4")
    (root / "bad.mp4").write_bytes(b"nothing")
    for name in ("hand", "clip.mp4"):
        with Image.open(jobs.sequences.picture(name)) as image:
            assert image.size == (WIDTH, HEIGHT)
    with pytest.raises(InputError):
        jobs.sequences.picture("bad.mp4")
    with pytest.raises(NotFoundError):
        jobs.sequences.picture("../hand")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process may take")
def test_a_video_that_needs_too_much_memory_ends_in_a_sentence_and_not_in_a_full_machine(
    jobs: Jobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with av.open(str(root / "vast.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8000, 6000, "yuvj420p"
        frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)  # 72 MB, 144 as RGB
        container.mux([*stream.encode(frame), *stream.encode()])
    assert opened(jobs, "vast.avi").state == "ready"
    assert (
        2**30
        <= sequence_child.most_memory()
        < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
    monkeypatch.setattr(sequence_child, "most_memory", lambda: 220 * 2**20)
    (root / "vast.avi").rename(root / "other.avi")
    view = opened(jobs, "other.avi")
    assert view.state == "failed"
    assert view.error.startswith("Reading other.avi needs more than the 220 MB of memory")
    with pytest.raises(InputError, match="needs more than the 220 MB of memory"):
        jobs.sequences.picture("other.avi")


def test_a_file_in_which_the_reader_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_child, "SILENT_SECONDS", 0.5)
    endless = tmp_path / "endless.mp4"
    os.mkfifo(endless)
    found = Found("endless.mp4", SequenceKind.VIDEO, endless)
    with pytest.raises(InputError, match=r"Reading endless\.mp4 was broken off"):
        sequence_child.picture(found, tmp_path / "out.jpg", root=tmp_path, limits=Limits())
