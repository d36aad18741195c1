"""Promise: a person hears what CVAT will keep, drop or refuse of a result before importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits
from cvat_io import preflight
from cvat_io.forecast import MOST_EXAMPLES, Fate, Forecast, Rule
from cvat_io.reader import open_export
from cvat_io.result import write_result
from errors import MAX_SENTENCE, InputError
from tests.cvat_io.cvat_samples import (
    FIXTURES,
    document,
    job,
    mask,
    needs_fixtures,
    track,
    write_zip,
)
from tests.cvat_io.result_samples import BOX, export_file, shape

ATTRIBUTES = (
    "<labels><label><name>car</name><attributes>"
    "<attribute><name>wet</name><mutable>True</mutable><input_type>checkbox</input_type>"
    "<default_value>false</default_value><values></values></attribute>"
    "<attribute><name>note</name><mutable>True</mutable><input_type>text</input_type>"
    "<default_value></default_value><values></values></attribute>"
    "</attributes></label>"
    "<label><name>pose</name><type>skeleton</type></label>"
    "<label><name>head</name><type>points</type><parent>pose</parent></label></labels>"
)
META = job(labels=ATTRIBUTES)


def foresee(folder: Path, *parts: str, meta: str = META) -> Forecast:
    path = folder / "result.xml"
    path.write_bytes(document(meta, *parts))
    return preflight.foresee(path, None, Limits())[1]


def valued(name: str, value: str) -> str:
    return mask(3).replace("></mask>", f'><attribute name="{name}">{value}</attribute></mask>')


def box(frame: object, **values: object) -> str:
    given = {
        "frame": frame, "keyframe": 1, "outside": 0, "occluded": 0, "xtl": 1, "ytl": 1, "xbr": 2,
        "ybr": 2,
    } | values  # fmt: skip
    text = "".join(f' {k}="{v}"' for k, v in given.items() if v is not None)
    return f"<box{text}></box>"


def skeleton(label: str, **values: object) -> str:
    given = {"label": label, "occluded": 0, "outside": 0, "keyframe": 1, "points": "1,2"} | values
    part = "".join(f' {k}="{v}"' for k, v in given.items() if v is not None)
    return f'<skeleton frame="3" keyframe="1"><points{part}></points></skeleton>'


def grouped(text: str, group: int) -> str:
    """A <track> of a group."""
    return text.replace("<track", f'<track group_id="{group}"')


CLOSED = mask(1) + mask(2, outside=1)


@pytest.mark.parametrize(
    ("parts", "rule", "place"),
    [
        # The whole import is refused.
        (track(mask(3), label="dog"), Rule.UNKNOWN_LABEL, ("", "dog", "0")),
        (track(mask(3), label="head"), Rule.UNKNOWN_LABEL, ("", "head", "0")),
        (track(mask(3), label=None), Rule.NO_LABEL, ("", "", "0")),
        (track(mask(10)), Rule.UNKNOWN_FRAME, ("10", "car", "0")),
        (track(mask(-1)), Rule.UNKNOWN_FRAME, ("-1", "car", "0")),
        (track(box(3) + box(10, outside=1)), Rule.UNKNOWN_FRAME, ("10", "car", "0")),
        (track(mask("x")), Rule.NO_NUMBER, ("x", "car", "0")),
        (track(mask(3, keyframe=None)), Rule.MISSING, ("3", "car", "0")),
        (track(mask(None)), Rule.MISSING, ("", "car", "0")),
        (track(mask(3, rle=None)), Rule.MISSING, ("3", "car", "0")),
        (track(mask(3, width=None)), Rule.MISSING, ("3", "car", "0")),
        (track(mask(3, rle="1, x, 5")), Rule.NO_NUMBER, ("3", "car", "0")),
        (track(mask(3, rle="1.0, 2, 5")), Rule.NO_NUMBER, ("3", "car", "0")),
        (track(mask(3, rle="")), Rule.NO_NUMBER, ("3", "car", "0")),
        (track(mask(3, z_order=2**40)), Rule.RANGE, ("3", "car", "0")),
        (track(mask(3, rotation=360.5)), Rule.RANGE, ("3", "car", "0")),
        (track(box(3, rotation=400)), Rule.RANGE, ("3", "car", "0")),
        (track(box(1) + box(3, rotation=-0.1)), Rule.RANGE, ("3", "car", "0")),
        (grouped(track(box(3)), -1), Rule.RANGE, ("3", "car", "0")),
        (grouped(track(box(3)), 2**31), Rule.RANGE, ("3", "car", "0")),
        (
            '<image id="3" name="a.png"><tag label="car" group_id="-1"></tag></image>',
            Rule.RANGE,
            ("3", "car", "3"),
        ),
        (track(CLOSED + mask(3, outside=1, rle="x")), Rule.NO_NUMBER, ("3", "car", "0")),
        (track(box(3, xtl=None)), Rule.MISSING, ("3", "car", "0")),
        (track(box(3, xtl="left")), Rule.NO_NUMBER, ("3", "car", "0")),
        (track(mask(3, keyframe=0)), Rule.NO_KEY, ("", "car", "0")),
        (track(""), Rule.NO_KEY, ("", "car", "0")),
        (track(CLOSED + track(mask(3))), Rule.NESTED, ("", "car", "0")),
        (track(valued("wet", "perhaps")), Rule.CHECKBOX, ("3", "car", "0")),
        (track(valued("note", "x" * 4097)), Rule.LONG_VALUE, ("3", "car", "0")),
        (track(skeleton("tail"), label="pose"), Rule.UNKNOWN_LABEL, ("3", "pose", "0")),
        (track(skeleton("head", keyframe=None), label="pose"), Rule.MISSING, ("3", "pose", "0")),
        ('<image id="10" name="a.png"></image>', Rule.UNKNOWN_IMAGE, ("", "", "10")),
        # The rest is stored, this is not.
        (track(mask(1) + mask(3)), Rule.FURTHER_MASK, ("3", "car", "0")),
        (track(mask(1) + box(3)), Rule.BESIDE_MASK, ("3", "car", "0")),
        (track(valued("colour", "red")), Rule.UNKNOWN_ATTRIBUTE, ("3", "car", "0")),
        (track(mask(1) + '<blob frame="3"></blob>'), Rule.UNKNOWN_KIND, ("3", "car", "0")),
        (grouped(track(mask(3)), 4), Rule.GROUP, ("3", "car", "0")),
        (grouped(track(mask(3)), -1), Rule.GROUP, ("3", "car", "0")),
        # It is stored, but not as it is meant.
        (track(mask(3, outside=1)), Rule.GHOST, ("3", "car", "0")),
        (track(mask(3), 7) + track(mask(3), 8), Rule.TWICE, ("3", "car", "8")),
        (track(box(3) + box(3)), Rule.FRAME_TWICE, ("3", "car", "0")),
        (track(box(1) + mask(3)), Rule.MASK_IN_TRACK, ("3", "car", "0")),
        (track(mask(3, rle="1, 2")), Rule.RUNS, ("3", "car", "0")),
        (track(mask(3, rle="1, -2, 9")), Rule.RUNS, ("3", "car", "0")),
        (track(mask(3, left=17)), Rule.BOX, ("3", "car", "0")),
        (track(mask(3, width=0)), Rule.BOX, ("3", "car", "0")),
        (track(mask(3, width=2**40, height=2**40)), Rule.BOX, ("3", "car", "0")),
        (track(mask(3, rle="8")), Rule.EMPTY, ("3", "car", "0")),
        # Nothing is lost.
        (track(CLOSED), Rule.CLOSING, ("2", "car", "0")),
        (track(box(1) + box(2, keyframe=0)), Rule.BETWEEN, ("2", "car", "0")),
        (track(mask(3)).replace("manual", "auto"), Rule.SOURCE, ("3", "car", "0")),
    ],
)
def test_every_rule_of_the_importer_strikes_where_it_should(
    tmp_path: Path, parts: str, rule: Rule, place: tuple[str, str, str]
) -> None:
    forecast = foresee(tmp_path, track(mask(0), 99), parts)
    worse = {r for r in forecast.struck if r.fate is not Fate.NOTED}
    assert worse == ({rule} - {r for r in Rule if r.fate is Fate.NOTED})
    [example] = forecast.struck[rule].examples
    assert (example.frame, example.label, example.track) == place
    assert forecast.fate is rule.fate


@pytest.mark.parametrize(
    "parts",
    [
        track(CLOSED) + track(mask(1, left=5)),
        track(mask(3, rle="1,2,5")),
        track(mask(3, rle="0, 8, 0")),
        track(mask(3, outside=None, occluded=None, z_order=None)),
        track(valued("wet", "TRUE")),
        track(valued("note", "")),
        track(box(1) + box(9, outside=1)),
        track(box(1) + box(77, keyframe=0)),
        track(box(1) + box(2, keyframe=0, rotation=400)),  # CVAT computes it anew
        track(box(1, rotation=0) + box(9, rotation=360)),
        grouped(track(box(1)), 2**31 - 1),
        track(skeleton("head"), label="pose"),
        '<image id="9" name="a.png"><box label="car" xtl="1" ytl="1" xbr="2" ybr="2"></box>'
        '<tag label="car" z_order="x" rotation="400"></tag></image>',  # a tag has no place
    ],
)
def test_what_the_importer_takes_is_said_to_be_kept(tmp_path: Path, parts: str) -> None:
    forecast = foresee(tmp_path, parts)
    assert forecast.fate is Fate.NOTED, forecast.struck
    assert forecast.masks.total() + forecast.tracks.total() + forecast.shapes.total() >= 1


def test_our_own_result_is_kept_as_a_whole(tmp_path: Path) -> None:
    export, result = export_file(tmp_path, BOX, track(mask(1))), tmp_path / "r.zip"
    with open_export(export, Limits()) as opened:
        masks = [shape(frame, source="auto") for frame in (0, 1, 8, 9)]
        write_result(result, opened, masks, {"key_frames": "1"})
    _, forecast = preflight.foresee(result, export, Limits())
    assert forecast.fate is Fate.NOTED
    assert (forecast.masks, forecast.frames, forecast.tracks) == ({"car": 4}, 4, {"box": 1})
    assert set(forecast.struck) == {Rule.CLOSING, Rule.SOURCE}
    assert forecast.notices == []


def test_the_job_and_not_the_files_head_says_what_is_known(tmp_path: Path) -> None:
    result, export = tmp_path / "r.xml", tmp_path / "e.xml"
    result.write_bytes(document(job(), track(mask(3)), track(mask(9), 1)))
    export.write_bytes(document(job(stop=5).replace("<id>7", "<id>8")))
    meta, forecast = preflight.foresee(result, export, Limits())
    assert meta.id == "8"
    assert list(forecast.struck) == [Rule.UNKNOWN_FRAME]
    assert forecast.struck[Rule.UNKNOWN_FRAME].examples[0].track == "1"
    assert "job 7" in forecast.notices[0]
    assert "job 8" in forecast.notices[0]
    with pytest.raises(InputError, match=r"refuse the whole import.*frame 9.*track 1") as caught:
        preflight.require_taken(result, forecast)
    assert len(str(caught.value)) <= MAX_SENTENCE


def test_a_result_without_a_head_needs_the_jobs_export(tmp_path: Path) -> None:
    result, export = tmp_path / "r.xml", tmp_path / "e.xml"
    result.write_bytes(document("", track(mask(3))))
    export.write_bytes(document(job()))
    with pytest.raises(InputError, match="--export"):
        preflight.foresee(result, None, Limits())
    assert preflight.foresee(result, export, Limits())[1].masks == {"car": 1}


def test_every_xml_of_an_archive_counts_and_hidden_ones_do_not(tmp_path: Path) -> None:
    data = document(job(), track(mask(3)))
    members = {"annotations.xml": data, "backup/a.xml": data, "__MACOSX/._annotations.xml": b"\0"}
    _, forecast = preflight.foresee(write_zip(tmp_path / "r.zip", members), None, Limits())
    assert forecast.masks == {"car": 2}
    assert forecast.struck[Rule.TWICE].count == 1
    assert len(forecast.notices) == 2
    broken = {"annotations.xml": data, "old.xml": b"<annotations>"}
    with pytest.raises(InputError, match=r"old\.xml is no well-formed XML"):
        preflight.foresee(write_zip(tmp_path / "b.zip", broken), None, Limits())
    with pytest.raises(InputError, match=r"no \.xml file"):
        preflight.foresee(write_zip(tmp_path / "n.zip", {"a.json": b"{}"}), None, Limits())


def test_the_summary_counts_all_and_shows_the_first(tmp_path: Path) -> None:
    tracks = [track(mask(0) + mask(frame, left=frame), frame) for frame in range(1, 9)]
    path = tmp_path / "r.xml"
    path.write_bytes(document(META, *tracks))
    meta, forecast = preflight.foresee(path, None, Limits())
    lines = list(preflight.describe_forecast(meta, forecast))
    assert all(line.isprintable() for line in lines)
    [at] = [i for i, line in enumerate(lines) if line.startswith("Dropped, 8 times: a further")]
    assert lines[at + 1 : at + 1 + MOST_EXAMPLES] == [
        f"  frame {frame}, label car, track {frame}" for frame in range(1, 1 + MOST_EXAMPLES)
    ]
    assert lines[at + 1 + MOST_EXAMPLES] == "  and 3 more"


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "fate"),
    [
        ("airacing_251_job_masks_subset.xml", Fate.NOTED),
        ("airacing_264_job_masks.xml", Fate.NOTED),
        ("airacing_264_job_masks.zip", Fate.NOTED),
        ("images11_job_polygon.xml", Fate.NOTED),
        ("synthetic_allshapes_task_step3.xml", Fate.DROPPED),  # the group of a mask
        ("task2025_boxes_86tracks.xml", Fate.NOTED),
        ("datumaro_forvideo_step3_skeleton.xml", Fate.REFUSED),  # skeletons in their older form
    ],
)
def test_what_cvat_wrote_itself(name: str, fate: Fate) -> None:
    _, forecast = preflight.foresee(FIXTURES / name, None, Limits())
    assert forecast.fate is fate, forecast.struck


def test_a_damaged_result_is_to_be_made_or_fetched_again_not_exported(tmp_path: Path) -> None:
    """A result does not come from CVAT; the export that it is compared with does."""
    with open_export(export_file(tmp_path), Limits()) as opened:
        write_result(tmp_path / "r.zip", opened, [shape(3)], {})
    whole = (tmp_path / "r.zip").read_bytes()
    again = "fetch the result again where it was made (`relay result JOB --out F`, or its page)"
    for name, content in {
        "cut.zip": whole[:-20],
        "empty.zip": b"",
        "torn.xml": document(META, mask(3))[:-30],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            preflight.foresee(tmp_path / name, None, Limits())
        assert again in str(caught.value)
        assert "from CVAT" not in str(caught.value)
    (tmp_path / "cut.zip").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="fetch it again from CVAT"):
        preflight.foresee(tmp_path / "r.zip", tmp_path / "cut.zip", Limits())
