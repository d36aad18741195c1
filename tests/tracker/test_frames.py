"""Promise: frames come out as stored, in order, in one size, or with a sentence why not."""

from __future__ import annotations

import io
import threading
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from errors import InputError
from tracker.frames import FolderFrames, ZipFrames, prefetch

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


def stored(picture: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(pixels: np.ndarray) -> bytes:
    return stored(PIL.Image.fromarray(pixels))


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def read_one(tmp_path: Path, data: bytes, name: str = "images/frame_000000.png") -> np.ndarray:
    path = archive(tmp_path / "one.zip", {name: data})
    with ZipFrames(path, [name]) as frames:
        return frames.read(0)


def test_frames_of_a_zip_come_in_the_order_of_the_members_given(tmp_path: Path) -> None:
    pictures = [RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8) for _ in range(3)]
    path = archive(tmp_path / "a.zip", {f"{i}.png": png(p) for i, p in enumerate(pictures)})
    with ZipFrames(path, ["2.png", "0.png"]) as frames:
        assert (len(frames), frames.width, frames.height) == (2, 7, 9)
        assert np.array_equal(frames.read(0), pictures[2])
        assert np.array_equal(frames.read(1), pictures[0])


def test_frames_of_a_folder_are_sorted_as_people_count(tmp_path: Path) -> None:
    for name, value in (("10.png", 10), ("9.png", 9), ("100.jpg", 100), ("notes.txt", 0)):
        if name.endswith("txt"):
            (tmp_path / name).write_text("no image")
        else:
            PIL.Image.new("RGB", (8, 8), (value, value, value)).save(tmp_path / name)
    with FolderFrames(tmp_path) as frames:
        assert [int(frames.read(i)[0, 0, 0]) for i in range(len(frames))] == [9, 10, 100]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1"])
def test_every_way_to_store_colours_gives_rgb(tmp_path: Path, mode: str) -> None:
    picture = PIL.Image.fromarray(PICTURE).convert(mode)
    found = read_one(tmp_path, stored(picture))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert np.array_equal(found, np.asarray(picture.convert("RGB")))


def test_transparent_pixels_keep_their_stored_colour(tmp_path: Path) -> None:
    alpha = np.zeros((24, 40, 1), dtype=np.uint8)
    assert np.array_equal(read_one(tmp_path, png(np.dstack([PICTURE, alpha]))), PICTURE)


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path: Path) -> None:
    grey = RNG.integers(0, 65536, (24, 40), dtype=np.uint16)
    found = read_one(tmp_path, png(grey))
    assert np.array_equal(found, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_cmyk_jpeg_gives_rgb(tmp_path: Path) -> None:
    found = read_one(tmp_path, stored(PIL.Image.new("CMYK", (40, 24), (0, 255, 255, 0)), "JPEG"))
    assert found.shape == (24, 40, 3)
    assert found[..., 0].min() > 200 > 60 > found[..., 1:].max()


def test_an_orientation_mark_does_not_turn_the_pixels(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    found = read_one(tmp_path, stored(PIL.Image.fromarray(PICTURE), exif=exif))
    assert np.array_equal(found, PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_a_truncated_image_is_named_and_nothing_else_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, part: float
) -> None:
    whole = stored(PIL.Image.fromarray(PICTURE), kind)
    cut = whole[: int(len(whole) * part)]
    path = archive(tmp_path / "cut.zip", {"0.img": whole, "1.img": cut})
    with (
        ZipFrames(path, ["0.img", "1.img"]) as frames,
        pytest.raises(InputError, match=r"1\.img in cut\.zip .*truncated"),
    ):
        frames.read(1)
    assert capfd.readouterr() == ("", "")


def test_damaged_pixels_are_named_and_nothing_else_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = bytearray(png(PICTURE))
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(InputError, match="frame_000000"):
        read_one(tmp_path, bytes(whole))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_one(tmp_path, data)


def test_an_image_over_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "big.zip", {"0.png": png(PICTURE)})
    with pytest.raises(InputError, match=r"0\.png in big\.zip has more than 959 pixels"):
        ZipFrames(path, ["0.png"], max_pixels=959)


def test_a_header_that_claims_a_huge_image_is_refused(tmp_path: Path) -> None:
    data = bytearray(png(PICTURE))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # IHDR: width and height
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path = archive(tmp_path / "bomb.zip", {"0.png": bytes(data)})
    with pytest.raises(InputError, match=r"has more than 100,000,000 pixels"):
        ZipFrames(path, ["0.png"])


@pytest.mark.parametrize("bomb", [0, 1])
def test_no_more_of_a_member_is_read_than_its_image_can_need(tmp_path: Path, bomb: int) -> None:
    members = {"0.png": png(PICTURE), "1.png": png(PICTURE)}
    members[f"{bomb}.png"] += bytes(96 * 2**20)
    path = archive(tmp_path / "bomb.zip", members)
    tracemalloc.start()
    try:
        with ZipFrames(path, ["0.png", "1.png"]) as frames:
            assert np.array_equal(frames.read(1 - bomb), PICTURE)
            with pytest.raises(InputError, match=rf"{bomb}\.png in bomb\.zip unpacks to 100,66"):
                frames.read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_member_that_states_too_little_is_not_unpacked_whole(tmp_path: Path) -> None:
    path = archive(tmp_path / "lie.zip", {"0.png": png(PICTURE), "1.png": bytes(96 * 2**20)})
    stated = (96 * 2**20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(stated, (5000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with (
            ZipFrames(path, ["0.png", "1.png"]) as frames,
            pytest.raises(InputError, match=r"1\.png in lie\.zip cannot be read"),
        ):
            frames.read(1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


def test_damaged_exif_data_are_no_obstacle_even_where_warnings_are_errors(tmp_path: Path) -> None:
    jpeg = stored(PIL.Image.fromarray(PICTURE), "JPEG", quality=95)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x1a\x01"
    block = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    behind = 4 + int.from_bytes(jpeg[4:6], "big")  # the JFIF block, which would win over EXIF
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_one(tmp_path, jpeg[:2] + block + jpeg[behind:], "0.jpg")
    assert found.shape == PICTURE.shape


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "two.zip", {"0.png": png(PICTURE), "1.png": png(PICTURE[:, :39])})
    with (
        ZipFrames(path, ["0.png", "1.png"]) as frames,
        pytest.raises(InputError, match=r"1\.png in two\.zip is 39x24 .*0\.png, is 40x24"),
    ):
        frames.read(1)


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"0.png": png(PICTURE)})
    with (
        ZipFrames(path, ["0.png", "1.png"]) as frames,
        pytest.raises(InputError, match=r"1\.png is missing in a\.zip"),
    ):
        frames.read(1)


def test_sources_without_images_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"annotations.xml": b"<annotations/>"})
    with pytest.raises(InputError, match="holds no images"):
        ZipFrames(path, [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        FolderFrames(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        FolderFrames(tmp_path / "nowhere")


class Counted:
    """Frames that carry their index, and a record of which were decoded."""

    width, height = 4, 2

    def __init__(self, length: int, broken_at: int | None = None) -> None:
        self.length, self.broken_at = length, broken_at
        self.decoded: list[int] = []
        self.reached = threading.Event()

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> np.ndarray:
        if index == self.broken_at:
            raise InputError(f"frame {index} is broken")
        self.decoded.append(index)
        if len(self.decoded) == 3:
            self.reached.set()
        return np.full((2, 4, 3), index, dtype=np.uint8)

    def close(self) -> None: ...

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *exc: object) -> None: ...


def alive() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_prefetch_gives_frames_in_the_order_asked_for() -> None:
    order = [5, 4, 4, 0, 19, 7]
    assert [int(f[0, 0, 0]) for f in prefetch(Counted(20), iter(order), depth=2)] == order
    assert not alive()


def test_prefetch_decodes_ahead_but_no_further_than_its_depth() -> None:
    source = Counted(100)
    ahead = prefetch(source, range(100), depth=3)
    next(ahead)
    assert source.reached.wait(10)
    ahead.close()
    assert len(source.decoded) <= 4
    assert not alive()


def test_prefetch_ends_its_thread_when_the_reader_stops_early() -> None:
    ahead = prefetch(Counted(1000), range(1000), depth=2)
    for _, _frame in zip(range(3), ahead, strict=False):
        pass
    ahead.close()
    assert not alive()


def test_prefetch_passes_an_exception_on_where_its_frame_would_have_been() -> None:
    ahead = prefetch(Counted(9, broken_at=2), range(9), depth=4)
    assert [int(next(ahead)[0, 0, 0]), int(next(ahead)[0, 0, 0])] == [0, 1]
    with pytest.raises(InputError, match="frame 2 is broken"):
        next(ahead)
    assert not alive()


def test_prefetch_of_nothing_is_nothing() -> None:
    assert list(prefetch(Counted(3), [])) == []
