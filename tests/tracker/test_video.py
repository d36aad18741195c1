"""Promise: frame i of a video is the i-th decoded frame, in whatever order frames are asked for."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest

from demo.clip import make_clip
from errors import InputError
from tracker.frames import VideoFrames

PICTURES = [image for image, _ in make_clip(40, 160, 90)]
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0"}
OPEN_GOP_HEVC = {"x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=none"}


def write(path: Path, codec: str, options: dict[str, str], b_frames: int = 0) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        stream.gop_size = 12
        stream.max_b_frames = b_frames
        for picture in PICTURES:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def in_sequence(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "codec", "options", "b_frames"),
    [
        ("plain.mp4", "libx264", {}, 0),
        ("b-frames.mp4", "libx264", {}, 3),
        ("open-gop.mp4", "libx264", OPEN_GOP, 3),
        ("open-gop.ts", "libx264", OPEN_GOP, 3),
        ("open-gop.mkv", "libx265", OPEN_GOP_HEVC, 3),
        ("b-frames.mpg", "mpeg2video", {}, 2),
        ("packed.avi", "mpeg4", {}, 2),
        ("hidden.webm", "libvpx-vp9", {}, 0),
    ],
)
def test_every_order_of_reading_gives_the_frames_of_sequential_decoding(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], b_frames: int
) -> None:
    path = write(tmp_path / name, codec, options, b_frames)
    expected = in_sequence(path)
    anyhow = list(range(len(expected)))
    random.Random(0).shuffle(anyhow)
    with VideoFrames(path) as video:
        assert (len(video), video.width, video.height) == (len(PICTURES), 160, 90)
        for order in (range(len(expected)), reversed(range(len(expected))), anyhow, [7, 7]):
            for index in order:
                assert np.array_equal(video.read(index), expected[index]), index


def test_a_video_cut_inside_an_open_gop_counts_from_the_first_decodable_frame(
    tmp_path: Path,
) -> None:
    whole = write(tmp_path / "whole.ts", "libx264", OPEN_GOP, 3)
    cut = tmp_path / "cut.ts"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        keys = 0
        for packet in source.demux(video=0):
            keys += packet.is_keyframe and packet.size > 0
            if keys >= 2 and packet.size > 0:
                packet.stream = stream
                out.mux(packet)
    expected = in_sequence(cut)
    with VideoFrames(cut) as video:
        assert len(video) == len(expected) < len(PICTURES)
        for index in (len(expected) - 1, 0, 5, 13):
            assert np.array_equal(video.read(index), expected[index]), index


def test_a_frame_may_be_drawn_on_without_spoiling_the_next_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {})
    with VideoFrames(path) as video:
        before = video.read(3).copy()
        video.read(3)[...] = 0
        assert np.array_equal(video.read(3), before)


def test_what_is_no_video_is_refused_with_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.mp4").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"no\.mp4 cannot be opened"):
        VideoFrames(tmp_path / "no.mp4")
    with pytest.raises(InputError, match="cannot be opened"):
        VideoFrames(tmp_path / "missing.mp4")
    assert capfd.readouterr() == ("", "")


def test_a_truncated_video_is_refused_with_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "cut.mp4", "libx264", {})
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"cut\.mp4"):
        VideoFrames(path)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_frame_is_named_and_the_others_can_still_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.webm", "libvpx-vp9", {})
    with av.open(str(path)) as container:
        last = [p for p in container.demux(video=0) if p.size][-1]
        start, size = last.pos, last.size
    data = bytearray(path.read_bytes())
    data[start + 8 : start + size] = bytes(size - 8)
    path.write_bytes(bytes(data))
    with VideoFrames(path) as video:
        with pytest.raises(InputError, match=rf"a\.webm is damaged at frame {len(PICTURES) - 1}"):
            video.read(len(PICTURES) - 1)
        assert video.read(0).shape == (90, 160, 3)
    assert capfd.readouterr() == ("", "")


def test_frames_over_the_pixel_limit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {})
    with pytest.raises(InputError, match="160x90"):
        VideoFrames(path, max_pixels=160 * 90 - 1)
