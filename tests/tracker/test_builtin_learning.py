"""Promise: learning gives the same each time, and a stranger's file harms nobody.

These tests ask not how good masks are, so the engines do little work here.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.engines import light, use
from tests.tracker.scenes import FAST, blank, follow, scene
from tracker.engines import learn, make
from tracker.propagators.builtin.model import Model, from_bytes
from tracker.propagators.builtin.recall import WIDTH
from tracker.protocol import Example

FRAMES = scene(3)
EXAMPLES = [Example(*FRAMES[0])]


@pytest.fixture(autouse=True)
def light_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    use(light, monkeypatch)


@pytest.fixture
def taught() -> bytes:
    found = learn(FAST, EXAMPLES)
    assert found is not None
    return found


def test_equal_seeds_teach_the_same_to_the_byte_and_others_do_not(taught: bytes) -> None:
    assert learn(FAST, EXAMPLES) == taught
    assert learn(FAST, EXAMPLES, seed=1) != taught


def test_a_number_of_threads_teaches_the_same_each_time(threads: None) -> None:
    assert learn(FAST, EXAMPLES, threads=1) == learn(FAST, EXAMPLES, threads=1)


def test_inputs_are_not_changed() -> None:
    image, labels = FRAMES[0][0].copy(), FRAMES[0][1].copy()
    learn(FAST, [Example(image, labels)])
    assert np.array_equal(image, FRAMES[0][0])
    assert np.array_equal(labels, FRAMES[0][1])


class Shelf(Sequence[Example]):
    """Key frames that are read when they are asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(FRAMES)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        if not 0 <= index < len(FRAMES):
            raise IndexError(index)
        self.asked.append(index)
        return Example(*FRAMES[index])


def test_every_key_frame_is_read_and_only_a_few_times() -> None:
    shelf = Shelf()
    assert learn(FAST, shelf) == learn(FAST, [Example(*frame) for frame in FRAMES])
    assert set(shelf.asked) == {0, 1, 2}
    assert max(shelf.asked.count(index) for index in range(3)) <= 3


@pytest.mark.parametrize("count", [1, 3])
def test_key_frames_without_any_object_can_be_learned_from(count: int) -> None:
    nothing = np.zeros((40, 60), dtype=np.uint16)
    found = learn(FAST, [Example(blank(90), nothing)] * count)
    assert found
    assert not follow([(blank(90), nothing)] * 2, found)[0].labels.any()


def test_more_key_frames_than_samples_are_no_error() -> None:
    assert learn(FAST, [EXAMPLES[0]] * 40)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (9, 9)])
def test_key_frames_of_any_shape_can_be_learned_from(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert learn(FAST, [Example(image, np.ones(shape, dtype=np.uint16))])


def test_what_an_earlier_run_learned_is_gone_on_from(taught: bytes) -> None:
    assert learn(FAST, EXAMPLES, earlier=taught) != taught


def test_what_another_engine_learned_is_ignored(taught: bytes) -> None:
    other = learn("builtin", EXAMPLES)
    assert learn(FAST, EXAMPLES, earlier=other) == taught


class Trap:
    """Unpickling one leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)


def trap(file: Path) -> bytes:
    """A hostile .npz: in the place of its arrays an object that acts when it is unpickled."""
    stream = io.BytesIO()
    np.savez(stream, note=np.array([Trap(file)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def test_a_file_that_is_none_is_ignored_and_nothing_in_it_runs(
    taught: bytes, tmp_path: Path
) -> None:
    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists(), "the trap works"
    sprung.unlink()
    strangers = [
        b"garbage",
        b"",
        taught[: len(taught) // 2],
        _squeezed_and_damaged(),
        bytes([taught[0] ^ 255]) + taught[1:],
        pickle.dumps(Trap(sprung)),
        trap(sprung),
        _npz(note=np.frombuffer(b'{"form": 1, "engine": "builtin-fast"}', dtype=np.uint8)),
        _npz(note=np.frombuffer(b"[1]", dtype=np.uint8)),
        _npz(other=np.zeros(3)),
        _npz(note=np.zeros((2, 2))),
        _npz(huge=np.zeros(2**23 + 1, dtype=np.float32)),
        _with_member("note.npy", b"no array at all"),
        _with_member("note.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', \n"),
        _changed(taught, "memory.keys", np.full((4, WIDTH), np.nan, dtype=np.float16)),
        _changed(taught, "memory.keys", np.full((4, WIDTH), 9, dtype=np.float16)),
        _changed(taught, "memory.keys", np.zeros((0, WIDTH), dtype=np.float16)),
        _changed(taught, "memory.values", np.zeros((1, 2), dtype=np.float16)),
        _changed(taught, "decoder.out.bias", np.array([np.inf], dtype=np.float32)),
        _changed(taught, "decoder.out.bias", np.array([0], dtype=np.complex64)),
    ]
    for stranger in strangers:
        assert from_bytes(stranger) is None, stranger[:40]
    assert learn(FAST, EXAMPLES, earlier=trap(sprung)) == taught
    assert not sprung.exists()


def _squeezed_and_damaged() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, note=np.random.default_rng(0).integers(0, 9, 5000))
    data = bytearray(stream.getvalue())
    data[200:260] = bytes(60)
    return bytes(data)


def _with_member(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(name, content)
    return stream.getvalue()


def _changed(taught: bytes, name: str, array: np.ndarray) -> bytes:
    with np.load(io.BytesIO(taught)) as arrays:
        return _npz(**{**dict(arrays), name: array})


def _npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_a_propagator_does_not_begin_with_a_file_that_is_none() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        make(FAST, learned=b"garbage")


def test_learning_that_is_told_to_stop_returns_nothing_soon() -> None:
    for patience in (0, 2, 6):
        asked = 0

        def stop(patience: int = patience) -> bool:
            nonlocal asked
            asked += 1
            return asked > patience

        assert learn(FAST, EXAMPLES, should_stop=stop) is None
        assert asked == patience + 1, "and does not ask again"


def test_progress_grows_to_one() -> None:
    shares: list[float] = []
    learn(FAST, EXAMPLES, on_progress=shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 1
    assert shares[-1] == pytest.approx(1)
    assert len(shares) > 2


def test_what_learning_begins_with_depends_on_its_seed_alone() -> None:
    """Other threads of the process draw from PyTorch's common numbers at any time."""
    begun = []
    for others in (5, 6):
        torch.manual_seed(others)
        begun.append(Model())
        begun[-1].begin(3)
    torch.manual_seed(3)
    begun.append(Model())  # as PyTorch begins
    first, *rest = ([w.clone() for w in model.parameters()] for model in begun)
    for other in rest:
        assert all(map(torch.equal, first, other))
