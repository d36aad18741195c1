"""Results keep CVAT's rules to the letter, and a result that breaks one is never published."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from config import Limits
from cvat_io import masks
from cvat_io.build import write_export
from cvat_io.model import ExportKind, Label, LabelAttribute, Mask, MaskShape, OtherTrack
from cvat_io.reader import open_export
from cvat_io.result import read_note, write_result
from cvat_io.verify import verify_result
from tests.cvat_io.cvat_samples import FIXTURES, document, job, mask, needs_fixtures, track
from tests.cvat_io.result_samples import BOX, export_file, human, shape, some_mask


def written(folder: Path, export: Path, shapes: Sequence[MaskShape]) -> etree._Element:
    out = folder / "result.zip"
    with open_export(export, Limits()) as opened:
        write_result(out, opened, shapes, {})
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["annotations.xml"]
        return etree.fromstring(archive.read("annotations.xml"))


def test_every_mask_is_a_track_of_its_own(tmp_path: Path) -> None:
    root = written(tmp_path, export_file(tmp_path), [shape(f) for f in (1, 1, 2, 5)])
    tracks = root.findall("track")
    assert [len(each.findall("mask[@outside='0']")) for each in tracks] == [1, 1, 1, 1]
    assert len({each.get("id") for each in tracks}) == 4


@pytest.mark.parametrize(("frame", "closing"), [(0, "1"), (7, "8"), (8, None), (9, None)])
def test_the_closing_shape_is_there_only_before_the_last_frame(
    tmp_path: Path, frame: int, closing: str | None
) -> None:
    """0 to 9: a mask on 8 would close on 9, which is the last frame and so not strictly before."""
    root = written(tmp_path, export_file(tmp_path), [shape(frame)])
    found = root.findall("track/mask")
    assert [each.get("frame") for each in found] == [str(frame)] + ([closing] if closing else [])
    assert [each.get("outside") for each in found] == ["0", "1"][: len(found)]
    assert {each.get("keyframe") for each in found} == {"1"}
    assert len({each.get("rle") for each in found}) == 1


def test_the_closing_shape_keeps_the_step(tmp_path: Path) -> None:
    meta = job(10, 34, "step=3")
    root = written(tmp_path, export_file(tmp_path, meta=meta), [shape(10), shape(28), shape(31)])
    frames = [[each.get("frame") for each in t.findall("mask")] for t in root.findall("track")]
    assert frames == [["10", "13"], ["28", "31"], ["31"]]


def test_other_tracks_come_first_and_ids_never_collide(tmp_path: Path) -> None:
    root = written(tmp_path, export_file(tmp_path, track(mask(1)), BOX), [shape(1), shape(2)])
    assert [each.get("id") for each in root.findall("track")] == ["41", "42", "43"]


def test_what_stands_beside_a_mask_is_written(tmp_path: Path) -> None:
    drawn = shape(
        2,
        source="semi-auto",
        occluded=True,
        z_order=-3,
        group_id=4,
        attributes=(("a \"b\" <c> & 'd'", "x < y\r\n& z"), ("empty", "")),
    )
    export = export_file(tmp_path)
    root = written(tmp_path, export, [drawn, shape(3)])
    one, two = root.findall("track")
    assert (one.get("source"), one.get("group_id")) == ("semi-auto", "4")
    assert "group_id" not in two.attrib
    found = one.find("mask")
    assert found is not None
    assert (found.get("occluded"), found.get("z_order")) == ("1", "-3")
    with open_export(tmp_path / "result.zip", Limits()) as result:
        again = human(result)
    assert again[0].attributes == drawn.attributes


def test_masks_are_written_tight_and_without_zero_runs(tmp_path: Path) -> None:
    loose = Mask(2, 3, 6, 4, np.array([8, 2, 0, 0, 14, 0], dtype=np.int32))
    root = written(tmp_path, export_file(tmp_path), [shape(1, mask=loose)])
    found = root.find("track/mask")
    assert found is not None
    assert [found.get(n) for n in ("left", "top", "width", "height", "rle")] == [
        "4",
        "4",
        "2",
        "1",
        "0, 2",
    ]


def test_elements_are_never_self_closed(tmp_path: Path) -> None:
    export = export_file(tmp_path, BOX.replace("</box>", '<attribute name="a"/></box>'))
    written(tmp_path, export, [shape(1, attributes=(("a", ""),))])
    text = zipfile.ZipFile(tmp_path / "result.zip").read("annotations.xml")
    assert b"/>" not in text
    assert text.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>')


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    export = export_file(tmp_path, BOX)
    many = [shape(f % 10, mask=some_mask(f % 17)) for f in range(20_000)]
    out = []
    for name in ("a.zip", "b.zip"):
        with open_export(export, Limits()) as opened:
            write_result(tmp_path / name, opened, many, {"b": 1, "a": 2})
        out.append((tmp_path / name).read_bytes())
    assert out[0] == out[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    export = export_file(tmp_path)
    empty = Mask(0, 0, 4, 2, np.array([8], dtype=np.int32))
    with open_export(export, Limits()) as opened, pytest.raises(ValueError, match="no pixel"):
        write_result(tmp_path / "result.zip", opened, [shape(1, mask=empty)], {})
    assert [path.name for path in tmp_path.iterdir()] == ["export.xml"]


@pytest.mark.parametrize("count", [1, 20_000])
def test_the_note_comes_back_whatever_its_length(tmp_path: Path, count: int) -> None:
    note = {"key_frames": ",".join(map(str, range(count)))}
    with open_export(export_file(tmp_path), Limits()) as opened:
        write_result(tmp_path / "result.zip", opened, [], note)
    assert read_note(tmp_path / "result.zip") == {"mask_relay": 1} | note


def test_foreign_files_have_no_note(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    assert read_note(path) is None
    path.write_bytes(b"PK\5\6" + bytes(18))
    assert read_note(path) is None
    for comment in (b"hello", b"[1]", b'{"mask_relay": 2}', b'{"packed": "x"}', b"[" * 60_000):
        with zipfile.ZipFile(path, "w") as archive:
            archive.comment = comment
        assert read_note(path) is None


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    [
        "airacing_264_job_masks.xml",
        "airacing_251_job_masks_subset.xml",
        "synthetic_allshapes_task_step3.xml",
        "datumaro_forvideo_step3_skeleton.xml",
        "task2025_boxes_86tracks.xml",
    ],
)
def test_a_fixture_comes_back_with_the_same_head_tracks_and_pixels(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / "result.zip"
    with open_export(FIXTURES / name, Limits()) as export:
        drawn = human(export)
        write_result(out, export, drawn, {})
        verify_result(out, export, {each.frame for each in drawn}, frozenset(), Limits())
        with open_export(out, Limits()) as result:
            assert result.meta == export.meta
            assert list(result.others()) == list(export.others())
            again = human(result)
    assert len(again) == len(drawn)
    for one, two in zip(drawn, again, strict=True):
        assert masks.same_pixels(one.mask, two.mask)
        beside = ("frame", "label", "source", "occluded", "z_order", "group_id", "attributes")
        assert [getattr(one, n) for n in beside] == [getattr(two, n) for n in beside]


@needs_fixtures
def test_a_file_that_cvat_wrote_comes_back_to_the_byte(tmp_path: Path) -> None:
    """264 has neither loose masks nor gaps in its ids once its one track number is renumbered."""
    path = FIXTURES / "airacing_264_job_masks.xml"
    with open_export(path, Limits()) as export:
        drawn = [each for each in export.tracks() if isinstance(each, MaskShape)]
        write_result(tmp_path / "result.zip", export, drawn, {})
    text = zipfile.ZipFile(tmp_path / "result.zip").read("annotations.xml")
    assert text == path.read_bytes()


names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1
).filter(lambda text: text.strip() == text)
values = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(ExportKind),
    labels=st.lists(names, min_size=1, max_size=3, unique=True),
    start=st.integers(0, 50),
    step=st.integers(1, 4),
    data=st.data(),
)
def test_any_export_that_is_built_reads_back_as_it_was(
    tmp_path: Path,
    kind: ExportKind,
    labels: list[str],
    start: int,
    step: int,
    data: st.DataObject,
) -> None:
    stop = start + step * 5
    attribute = LabelAttribute(
        "q", mutable=True, input_type="text", default_value="", values=("a",)
    )
    given_labels = tuple(Label(name, "#102030", "any", (attribute,)) for name in labels)
    drawn = []
    for frame in range(start, stop + 1, step):
        bits = data.draw(st.integers(0, 2**24 - 1))
        pixels = ((bits >> np.arange(24)) & 1).astype(bool).reshape(4, 6)
        found = masks.encode(pixels, 3, 2)
        if found is not None:
            drawn.append(
                MaskShape(
                    frame,
                    data.draw(st.sampled_from(labels)),
                    found,
                    source=data.draw(st.sampled_from(["manual", "auto"])),
                    occluded=data.draw(st.booleans()),
                    z_order=data.draw(st.integers(-5, 5)),
                    group_id=data.draw(st.integers(0, 3)),
                    attributes=(("q", data.draw(values)),),
                )
            )
    path = tmp_path / "built.zip"
    write_export(
        path,
        frames=[],
        width=12,
        height=9,
        labels=given_labels,
        masks=drawn,
        kind=kind,
        start_frame=start,
        stop_frame=stop,
        step=step,
    )
    with open_export(path, Limits()) as export:
        assert export.meta.kind is kind
        assert export.meta.labels == given_labels
        assert list(export.meta.frames) == list(range(start, stop + 1, step))
        assert (export.meta.width, export.meta.height) == (12, 9)
        found_shapes = human(export)
        write_result(tmp_path / "result.zip", export, found_shapes, {})
        keys = {each.frame for each in found_shapes}
        verify_result(tmp_path / "result.zip", export, keys, frozenset(), Limits())
    beside = ("frame", "label", "source", "occluded", "z_order", "group_id", "attributes")
    assert [[getattr(s, n) for n in beside] for s in found_shapes] == [
        [getattr(s, n) for n in beside] for s in drawn
    ]
    assert all(masks.same_pixels(a.mask, b.mask) for a, b in zip(found_shapes, drawn, strict=True))


MEMORY = """
import json, sys
from pathlib import Path
from bench.machine import peak_mb
from config import Limits
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
with open_export(Path(sys.argv[1]), Limits()) as export:
    count = sum(isinstance(each, MaskShape) for each in export.tracks())
print(json.dumps([count, peak_mb()]))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Twenty times the masks, in many tracks and in a single one: not twice the memory."""
    peaks = []
    runs = ", ".join(["3, 2"] * 400)
    for count, single in ((200, False), (4_000, False), (4_000, True)):
        path = tmp_path / "big.xml"
        shapes = [
            mask(n, rle=runs, left=0, top=n % 1000, width=2000, height=1) for n in range(count)
        ]
        size = "<original_size><width>2000</width><height>1000</height></original_size>"
        parts = [track("".join(shapes))] if single else [track(s, n) for n, s in enumerate(shapes)]
        path.write_bytes(document(job(stop=count, size=size), *parts))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        found, peak = json.loads(done.stdout)
        assert found == count
        peaks.append(peak)
    assert max(peaks[1:]) < 1.4 * peaks[0]


def test_others_are_streamed_without_reading_masks(tmp_path: Path) -> None:
    path = export_file(tmp_path, track(mask(1, rle="unread")), BOX)
    with open_export(path, Limits()) as export:
        (other,) = export.others()
    assert isinstance(other, OtherTrack)
    assert other.xml.decode() == BOX
