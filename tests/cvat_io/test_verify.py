"""A result that breaks a rule of CVAT or loses a human's mask is found out and not published."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_io.verify import VerificationError, verify_result
from tests.cvat_io.cvat_samples import LABELS, job, mask, track
from tests.cvat_io.result_samples import BOX, export_file, human, shape, some_mask


def tampered(folder: Path, change: tuple[str, str]) -> None:
    """Write a sound result, change it, and verify."""
    export = export_file(folder, track(mask(1)), BOX)
    out = folder / "result.zip"
    with open_export(export, Limits()) as opened:
        drawn = human(opened)
        write_result(out, opened, [*drawn, shape(2, source="auto")], {})
        verify_result(out, opened, {1}, frozenset(), Limits())
        with zipfile.ZipFile(out) as archive:
            text = archive.read("annotations.xml").decode()
        assert re.search(change[0], text)
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("annotations.xml", re.sub(*change, text, count=1))
        verify_result(out, opened, {1}, frozenset(), Limits())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r'(?s)(id="42".*?)left="4"', r'\1left="5"', "did not draw"),
        (r'(id="42" label="car" source=")manual', r"\1auto", "did not draw"),
        (r'(?s)(id="42".*?z_order=")0', r"\g<1>1", "did not draw"),
        (r"(?s)  <track id=\"42\".*?</track>\n", "", "lacks a mask"),
        (r"(?s)  <track id=\"41\".*?</track>\n", "", "other track number 0"),
        (r'xtl="1.00"', 'xtl="1.50"', "other track number 0"),
        (r'id="43"', 'id="42"', "two tracks have the id 42"),
        (r'id="43"', 'id="41"', "two tracks have the id 41"),
        (r'frame="2" keyframe="1" outside="1"', 'frame="3" keyframe="1" outside="1"', "not closed"),
        (r'(?s)(id="43".*?)frame="2"', r'\1frame="8"', "not closed"),
        (r'(?s)(id="43".*?)rle="0, 4"', r'\1rle="0, 4, 0"', "not canonical"),
        (r'(?s)(id="43".*?)rle="0, 4"', r'\1rle="0, 5"', "cannot be read"),
        (r'label="car"', 'label="dog"', "cannot be read"),
        (r"#b83df5", "#000000", "head differs"),
        (r"</annotations>", "", "cannot be read"),
    ],
)
def test_a_result_that_breaks_a_rule_is_found_out(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(VerificationError, match=words):
        tampered(tmp_path, (old, new))


def test_a_second_file_in_a_result_is_found_out(tmp_path: Path) -> None:
    out = tmp_path / "result.zip"
    with open_export(export_file(tmp_path), Limits()) as opened:
        write_result(out, opened, [], {})
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr("copy.xml", "<x/>")
        with pytest.raises(VerificationError, match="2 files"):
            verify_result(out, opened, (), frozenset(), Limits())


def test_additions_on_a_key_frame_need_leave(tmp_path: Path) -> None:
    out = tmp_path / "result.zip"
    with open_export(export_file(tmp_path, track(mask(1))), Limits()) as opened:
        write_result(out, opened, [*human(opened), shape(1, mask=some_mask(9))], {})
        verify_result(out, opened, {1}, frozenset(), Limits(), additions_allowed=True)
        with pytest.raises(VerificationError, match="did not draw"):
            verify_result(out, opened, {1}, frozenset(), Limits())


def test_only_what_an_earlier_run_made_may_be_made_anew_on_a_key_frame(tmp_path: Path) -> None:
    """Promise: whatever a plan takes for ours, a human's mask is never left out or marked."""
    out, old = tmp_path / "result.zip", tmp_path / "old.zip"
    with open_export(export_file(tmp_path, track(mask(1))), Limits()) as opened:
        drawn = human(opened)
        anew, ours = {"anew": {1: (0,)}}, {"ours": {1: (0,)}}
        for source in ("auto", "manual"):
            marked = [replace(each, source=source) for each in drawn]
            write_result(old, opened, marked, {})
            with open_export(old, Limits()) as previous:
                for masks, said in (([], anew), (marked, ours)):
                    write_result(out, opened, masks, {})
                    args = (out, opened, {1}, frozenset(), Limits())
                    if source == "auto":
                        verify_result(*args, previous=previous, **said)
                    else:
                        with pytest.raises(VerificationError, match="frame 1"):
                            verify_result(*args, previous=previous, **said)
        write_result(out, opened, [], {})
        with pytest.raises(VerificationError, match="earlier run, and is none"):
            verify_result(out, opened, {1}, frozenset(), Limits(), **anew)


def test_ignored_labels_stay_as_drawn_on_every_frame(tmp_path: Path) -> None:
    out = tmp_path / "result.zip"
    labels = LABELS.replace("</labels>", "<label><name>HUD</name></label></labels>")
    ignored = frozenset({"HUD"})
    path = export_file(tmp_path, track(mask(4), label="HUD"), meta=job(labels=labels))
    with open_export(path, Limits()) as opened:
        write_result(out, opened, human(opened), {})
        verify_result(out, opened, (), ignored, Limits())
        for wrong in ([], [*human(opened), shape(5, label="HUD")]):
            write_result(out, opened, wrong, {})
            with pytest.raises(VerificationError):
                verify_result(out, opened, (), ignored, Limits())


def test_the_same_pixels_drawn_twice_in_different_boxes_are_no_fault(tmp_path: Path) -> None:
    out = tmp_path / "result.zip"
    loose = mask(1, rle="9, 2, 13", left=2, top=3, width=6, height=4)
    tight = mask(1, rle="0, 2", left=5, top=4, width=2, height=1)
    path = export_file(tmp_path, track(loose, 0), track(tight, 1))
    with open_export(path, Limits()) as opened:
        assert len(human(opened)) == 2
        write_result(out, opened, human(opened), {})
        verify_result(out, opened, {1}, frozenset(), Limits())
