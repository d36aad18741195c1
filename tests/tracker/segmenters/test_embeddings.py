"""Promise: an image is encoded once, and nothing that happens to the cache gives a wrong mask."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from errors import InputError
from tests.tracker.segmenters.tiny import picture, tiny_sam
from tracker.segmenters.embeddings import Embeddings, content_of, content_of_tensors
from tracker.segmenters.sam import SamSegmenter

POINT, ON = np.array([[30, 30]], dtype=np.float32), np.array([1])


@pytest.fixture(autouse=True)
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


class Counted:
    """A segmenter, and how often its encoder ran."""

    def __init__(self, cache: Embeddings, seed: int = 0) -> None:
        model = tiny_sam(seed)
        self.runs = 0
        model.image_encoder.register_forward_hook(self._count)
        self.segmenter = SamSegmenter.of(model, cache=cache)

    def _count(self, *_: object) -> None:
        self.runs += 1

    def mask(self, image: np.ndarray) -> np.ndarray:
        self.segmenter.set_image(image)
        return self.segmenter.predict(POINT, ON).logits


def tensors(value: float, count: int = 256) -> dict[str, torch.Tensor]:
    return {"a": torch.full((count,), float(value))}


def test_an_image_is_encoded_once_and_answers_are_the_same_to_the_bit(tmp_path: Path) -> None:
    one, other = picture(70, 90, 0), picture(70, 90, 5)
    plain = SamSegmenter.of(tiny_sam())
    plain.set_image(one)
    fresh = plain.predict(POINT, ON).logits
    counted = Counted(Embeddings(tmp_path))
    first = counted.mask(one)
    assert np.array_equal(first, fresh)
    assert not np.array_equal(counted.mask(other), first)
    assert np.array_equal(counted.mask(one.copy()), first)
    assert counted.runs == 2
    later = Counted(Embeddings(tmp_path))  # as another process would
    assert np.array_equal(later.mask(one), first)
    assert later.runs == 0


def test_other_weights_never_share(tmp_path: Path) -> None:
    image = picture(70, 90)
    first, second = Counted(Embeddings(tmp_path)), Counted(Embeddings(tmp_path), seed=1)
    first.mask(image)
    second.mask(image)
    assert (first.runs, second.runs) == (1, 1)


def test_one_pixel_or_another_shape_is_another_image() -> None:
    image = picture(40, 60)
    changed = image.copy()
    changed[7, 9, 1] ^= 1
    turned = image.reshape(60, 40, 3)
    assert len({content_of(image), content_of(changed), content_of(turned)}) == 3
    assert content_of(image[:, ::-1]) == content_of(np.ascontiguousarray(image[:, ::-1]))
    a, b = torch.zeros(2), torch.zeros(2, dtype=torch.int32)
    assert len({content_of_tensors(t) for t in ({"a": a}, {"b": a}, {"a": b})}) == 3


def test_memory_gives_up_what_was_used_longest_ago() -> None:
    cache = Embeddings(memory_bytes=3 * 1024)
    for number in range(3):
        cache.put(str(number), "m", tensors(number))
    assert cache.get("0", "m") is not None
    cache.put("3", "m", tensors(3))
    assert cache.held_bytes == 3 * 1024
    assert cache.get("1", "m") is None
    assert all(cache.get(kept, "m") is not None for kept in "023")
    whole = torch.zeros(100_000)
    cache.put("view", "m", {"a": whole[:10]})
    assert cache.held_bytes <= 3 * 1024


def test_the_folder_is_bounded_and_gives_up_what_was_used_longest_ago(tmp_path: Path) -> None:
    room = 3 * 1600  # a file has 1024 bytes of numbers and a header
    cache = Embeddings(tmp_path, memory_bytes=0, disk_bytes=room)
    for number in range(3):
        cache.put(str(number), "m", tensors(number))
        _age(tmp_path, 10)
    assert cache.get("0", "m") is not None  # used: now the newest
    cache.put("3", "m", tensors(3))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= room
    assert cache.get("1", "m") is None
    found = cache.get("0", "m")
    assert found is not None
    assert torch.equal(found["a"], tensors(0)["a"])
    cache.put("big", "m", tensors(0, 100_000))
    assert cache.get("big", "m") is None
    assert cache.get("3", "m") is not None


def _age(folder: Path, seconds: float) -> None:
    for file in folder.iterdir():
        state = file.stat()
        os.utime(file, (state.st_atime, state.st_mtime - seconds))


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "text", "swap"])
def test_a_damaged_file_is_a_miss_and_goes_away(tmp_path: Path, harm: str) -> None:
    cache = Embeddings(tmp_path, memory_bytes=0)
    cache.put("i", "m", tensors(1))
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    if harm == "swap":  # whole, but of another image
        Embeddings(tmp_path, memory_bytes=0).put("other", "m", tensors(2))
        (other,) = set(tmp_path.iterdir()) - {path}
        other.replace(path)
    else:
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        harmed = {"cut": data[:-9], "empty": b"", "flip": flipped, "text": b"{" * 900}
        path.write_bytes(harmed[harm])
    assert cache.get("i", "m") is None
    assert list(tmp_path.iterdir()) == []
    calls: list[int] = []
    cache.of("i", "m", lambda: calls.append(1) or tensors(1))  # type: ignore[func-returns-value]
    found = cache.of("i", "m", lambda: calls.append(1) or tensors(9))  # type: ignore[func-returns-value]
    assert torch.equal(found["a"], tensors(1)["a"])
    assert len(calls) == 1


def test_what_a_killed_process_left_goes_away_and_what_others_write_stays(tmp_path: Path) -> None:
    old, new = tmp_path / ".unfinished-old", tmp_path / ".unfinished-new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, time.time() - 7200))
    Embeddings(tmp_path).put("i", "m", tensors(1))
    assert not old.exists()
    assert new.exists()


def test_without_its_folder_the_cache_still_works(tmp_path: Path) -> None:
    cache = Embeddings(tmp_path / "kept")
    (tmp_path / "kept").rmdir()
    cache.put("i", "m", tensors(1))
    assert cache.get("i", "m") is not None
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        Embeddings(tmp_path / "file" / "kept")


def test_two_processes_share_a_folder_that_is_too_small(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import torch
from tracker.segmenters.embeddings import Embeddings
cache = Embeddings(Path(sys.argv[1]), memory_bytes=0, disk_bytes=8000)
for turn in range(60):
    for number in range(8):
        found = cache.of(str(number), "m", lambda: {"a": torch.full((256,), float(number))})
        assert torch.equal(found["a"], torch.full((256,), float(number))), number
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
        assert complaint == ""
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 8000
