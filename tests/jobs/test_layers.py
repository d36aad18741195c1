"""Promise: the masks that a page shows are those of the archive, whatever became of derived files.

They are made anew where they are damaged or gone, take no more room than they may, and hold pixels
exactly, however odd the archive is.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from config import Limits
from cvat_io.model import Mask
from cvat_io.reader import open_export
from errors import InputError, NotFoundError
from jobs.derived import Derived
from jobs.layer_build import LayerSource, build_layer, mask_of
from jobs.layer_file import DamagedError, LayerFile, LayerWriter, pack_frames, packed
from jobs.layer_views import FrameEntry, MaskEntry, Presence
from jobs.next_frame import FrameDoubt, next_frame, worst_frames
from jobs.timeline import Lanes
from tests.jobs.layer_samples import box, export, layer, result, shape


def entry(number: int, runs: str = "0,4", z: int = 0, **more: object) -> MaskEntry:
    return MaskEntry(object=number, label="car", box=(1, 2, 2, 2), runs=runs, z=z, **more)


def written(path: Path, masks: list[tuple[int, MaskEntry]], last: int = 9) -> LayerFile:
    with path.open("w+b") as file, LayerWriter(file) as writer:
        for index, mask in masks:
            writer.add(index, mask)
        head = {"first": 0, "last": last, "step": 1, "key_frames": [2]}
        writer.finish(head, packed({"worst": []}))
    return LayerFile(path)


def frames(file: LayerFile, first: int = 0, last: int = 9) -> list[dict]:
    return json.loads(file.frames(range(first, last + 1)).text)["frames"]


def test_what_is_read_is_what_was_written_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    masks = [
        (int(index), entry(number, f"0,{number + 1}", z=int(rng.integers(-2, 3))))
        for number, index in enumerate(rng.integers(0, 10, 300), start=1)
    ]
    file = written(tmp_path / "x.layer", masks)
    told = frames(file)
    assert [each["frame"] for each in told] == list(range(10))
    assert [each["frame"] for each in told if each["key"]] == [2]
    for index, each in enumerate(told):
        mine = sorted((m for at, m in masks if at == index), key=lambda m: m.z)
        assert [(m["object"], m["z"], m["runs"]) for m in each["masks"]] == [
            (m.object, m.z, m.runs) for m in mine
        ]
    assert frames(file, 4, 6) == told[4:7]


def test_the_packed_text_is_one_sound_zlib_stream(tmp_path: Path) -> None:
    long = ",".join(["1"] * 90_000)  # longer than a stored block may be
    file = written(tmp_path / "x.layer", [(0, entry(1, long)), (3, entry(2)), (3, entry(3))])
    stream = zlib.decompressobj()
    text = stream.decompress(file.frames(range(10)).zlib) + stream.flush()
    assert stream.eof  # which zlib says only where the checksum is right
    assert stream.unused_data == b""
    assert json.loads(text)["frames"][0]["masks"][0]["runs"] == long


def test_frames_of_no_file_are_packed_alike(tmp_path: Path) -> None:
    masks = [(3, entry(1, score=0.25, why="unsure")), (3, entry(2)), (7, entry(1))]
    file = written(tmp_path / "x.layer", masks)
    loose = [
        FrameEntry(frame=f, key=f == 2, masks=tuple(m for at, m in masks if at == f))
        for f in range(10)
    ]
    assert pack_frames(loose).text == file.frames(range(10)).text


@pytest.mark.parametrize("label", ['"', "\\", "</script>", "\n\0", "\u202e", "\ud83d", "ü" * 500])
def test_a_label_is_data_whatever_it_is_called(tmp_path: Path, label: str) -> None:
    mask = MaskEntry(object=1, label=label, box=(0, 0, 1, 1), runs="0,1", score=0.5, why=label)
    told = frames(written(tmp_path / "x.layer", [(0, mask)]))[0]["masks"][0]
    assert told["label"] == told["why"] == label


def test_a_layer_without_masks_is_a_layer(tmp_path: Path) -> None:
    file = written(tmp_path / "x.layer", [])
    assert [each["masks"] for each in frames(file)] == [[]] * 10


def test_a_damaged_file_is_told_from_a_sound_one(tmp_path: Path) -> None:
    path = tmp_path / "x.layer"
    written(path, [(0, entry(1))])
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[: len(whole) // 2], whole[40:], b"x" * 500):
        path.write_bytes(data)
        with pytest.raises(DamagedError):
            LayerFile(path)


def test_runs_that_are_not_written_as_cvat_does_are_read_all_the_same(tmp_path: Path) -> None:
    archive = export(tmp_path / "a.zip", [shape(1, box(3, 3, 2, 2)), shape(4, box(5, 5))])
    with open_export(archive, Limits()) as opened:
        text = opened.source().read().decode()
    assert 'rle="0, 4"' in text
    odd = tmp_path / "odd.xml"
    odd.write_text(text.replace('rle="0, 4"', 'rle=" 0 ,+1,0,  03"').replace("0, 30", "0,30,0,0"))
    file = layer(odd)
    (first,), (second,) = file.masks(file.on(1)), file.masks(file.on(4))
    for told, true in ((first, box(3, 3, 2, 2)), (second, box(5, 5))):
        assert np.array_equal(np.concatenate(pixels(mask_of(told))), np.concatenate(pixels(true)))


def pixels(mask: Mask) -> list[np.ndarray]:
    canvas = np.zeros((30, 40), bool)
    ones = np.repeat(np.arange(mask.runs.size) % 2 == 1, mask.runs)
    canvas[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width] = ones.reshape(
        mask.height, mask.width
    )
    return list(canvas)


def test_masks_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    archive = export(tmp_path / "a.zip", [shape(1, box(3, 3, 2, 2)), shape(4, box(5, 5))])
    with open_export(archive, Limits()) as opened:
        text = opened.source().read().decode()
    empty = tmp_path / "empty.xml"
    empty.write_text(text.replace('rle="0, 4"', 'rle="4"'))
    assert [len(each["masks"]) for each in frames(layer(empty))] == [0] * 4 + [1] + [0] * 5


def test_a_report_that_is_gone_or_damaged_only_leaves_scores_out(tmp_path: Path) -> None:
    masks = [(shape(frame, box(3, 3), source="auto" if frame else "manual"), 1) for frame in (0, 1)]
    archive = result(tmp_path / "r.zip", masks)
    for text in (None, "", "{", '{\n  "divergence": [\n    {"frame": 1}\n  ]\n}', "\0" * 99):
        report = tmp_path / "report.json"
        report.unlink(missing_ok=True)
        if text is not None:
            report.write_text(text)
        file = layer(archive, report=report)
        assert "score" not in json.dumps(frames(file))
        lane = json.loads(file.timeline().text)["objects"][0]
        states = list(base64.b64decode(lane["presence"]))[:3]
        assert states == [Presence.KEY, Presence.COMPUTED, Presence.ABSENT]


def test_objects_that_are_gone_keep_their_score_in_the_timeline(tmp_path: Path) -> None:
    masks = [(shape(0, box(3, 3)), 1), (shape(1, box(3, 3), source="auto"), 1)]
    report = tmp_path / "report.json"
    lines = [
        {"frame": 1, "object": 1, "score": 0.25, "label": "car", "why": "unsure"},
        {"frame": 2, "object": 1, "score": 0.75, "label": "car", "why": "gone", "gone": True},
    ]
    body = ",\n".join("    " + json.dumps(line) for line in lines)
    report.write_text('{\n  "engine": "x",\n  "divergence": [\n' + body + "\n  ]\n}\n")
    told = json.loads(layer(result(tmp_path / "r.zip", masks), report=report).timeline().text)
    lane = told["objects"][0]
    assert list(base64.b64decode(lane["presence"]))[:4] == [2, 1, 0, 0]
    assert list(base64.b64decode(lane["scores"]))[:4] == [255, round(0.25 * 254), 190, 255]
    assert told["flagged"] == 1
    assert told["worst"][0]["repairs"] == 0.75  # of either frame: the other one gains as much


def test_a_timeline_that_no_memory_holds_is_refused_with_a_sentence() -> None:
    lanes = Lanes(10_000_000, {})
    lanes.mask(0, 1, "car", Presence.KEY)
    assert len(lanes.views()) == 1
    lanes.mask(0, 2, "car", Presence.KEY)
    lanes.score(0, 3, "car", 0.5)
    with pytest.raises(InputError, match="cut the task into shorter jobs"):
        lanes.views()


def test_a_layer_whose_timeline_cannot_be_told_still_gives_its_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.timeline._MOST_CELLS", 10)
    masks = [shape(4, box(3, 3)), shape(4, box(9, 9), "road")]
    file = layer(export(tmp_path / "a.zip", masks))
    assert len(frames(file)[4]["masks"]) == 2
    assert "10 frames cannot be shown" in file.head["untold"]


def test_the_frames_to_correct_are_spread_out_and_the_first_is_the_next_one() -> None:
    doubts = []
    for frame in range(1, 100):
        near = min(abs(frame - 25), abs(frame - 75))
        score = max(0.02, 0.9 - 0.1 * near)
        doubts.append(FrameDoubt(frame, 1, score, 1, "car", score, "unsure"))
    worst = worst_frames(doubts, (0, 100), 20)
    first = next_frame(1, doubts, (0, 100))
    assert first is not None
    assert worst[0].frame == first.frame
    assert worst[0].repairs == first.repairs
    assert {round(each.frame / 50 - 0.5) for each in worst[:2]} == {0, 1}  # one on either hill
    assert [each.repairs for each in worst] == sorted((e.repairs for e in worst), reverse=True)
    assert len({each.frame for each in worst}) == len(worst) <= 20
    assert worst_frames([], (0,), 20) == ()


def test_derived_files_take_no_more_room_than_they_may(tmp_path: Path) -> None:
    derived = Derived(tmp_path)
    now = time.time()
    for number in range(10):
        path = derived.make(derived.path("264", f"frames/{number}"), lambda f: f.write(b"x" * 100))
        os.utime(path, (now - 7200 + number, now - 7200 + number))
    assert derived.used(derived.path("264", "frames/0"))  # which is thereby the newest
    derived.shrink(1000)
    assert len(list((tmp_path / "cache/264/frames").iterdir())) == 10
    derived.shrink(500)
    left = sorted(path.name for path in (tmp_path / "cache/264/frames").iterdir())
    assert left == ["0", "7", "8", "9"]


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    derived = Derived(tmp_path)
    derived.make(derived.path("264", "frames/1"), lambda f: f.write(b"x"))
    old, young = (tmp_path / "cache/264/frames" / name for name in (".1.old", ".2.young"))
    old.write_bytes(b"x" * 100)
    young.write_bytes(b"x" * 100)
    os.utime(old, (time.time() - 7200,) * 2)
    derived.shrink(10_000)
    assert not old.exists()
    assert young.exists()


def test_a_file_that_many_ask_for_is_made_once(tmp_path: Path) -> None:
    derived, made = Derived(tmp_path), []
    path = derived.path("264", "layers/run-1")
    started = threading.Barrier(6)

    def ask() -> None:
        started.wait()
        derived.make(path, lambda file: made.append(file.write(b"x" * 1000)))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert path.read_bytes() == b"x" * 1000


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    derived = Derived(tmp_path)
    path = derived.path("264", "layers/run-1")
    source = LayerSource(annotations=tmp_path / "missing.zip")
    with pytest.raises(InputError, match=r"missing\.zip"):
        derived.make(path, lambda file: build_layer(source, file, Limits()))
    assert list(path.parent.iterdir()) == []
    derived.make(path, lambda file: file.write(b"x"))  # and the next one may try again
    assert path.exists()


def test_a_job_that_is_deleted_while_a_file_of_it_is_made_is_said_to_be(tmp_path: Path) -> None:
    derived = Derived(tmp_path)
    path = derived.path("264", "layers/run-1")
    with pytest.raises(NotFoundError, match="Job 264 was deleted meanwhile"):
        derived.make(path, lambda file: derived.remove_job("264"))
    assert not path.parent.exists()
    with pytest.raises(FileNotFoundError):  # something else is missing
        derived.make(path, lambda file: (tmp_path / "missing").read_bytes())
