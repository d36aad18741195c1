"""Promise: `relay track` fills what a human left open, touches nothing that a human made, and
leaves nothing behind when it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config import Settings
from cvat_io.masks import encode_labels, iou
from cvat_io.model import LabelAttribute
from cvat_io.result import read_note
from errors import InputError
from jobs.options import Direction, KeyFrames, Mode, RunOptions
from tests.helpers.clips import (
    LABELS,
    SHARED,
    Clip,
    clip_export,
    clip_names,
    contents,
    hud,
    masks_by_frame,
    shapes_of,
    tiny_clip,
    write_clip,
)
from tests.helpers.engines import quick, use
from worker.local import track, used_device

SETTINGS = Settings(ignore_labels=frozenset({"HUD"}))


def run(export: Path, out: Path, **options):
    extra = {key: options.pop(key) for key in ("previous", "images", "report") if key in options}
    return track(export, out, options=RunOptions(**options), settings=SETTINGS, **extra)


def tracked(shapes):
    return [shape for shape in shapes if shape.label != "HUD"]


def test_all_frames_are_covered_and_masks_follow_their_objects(tmp_path):
    clip = tiny_clip(11, width=160, height=96)
    export = write_clip(tmp_path / "e.zip", clip, (0, 10))
    run(export, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert sorted(found) == list(range(11))
    for index, shapes in found.items():
        exact = encode_labels(clip.maps[index])
        assert {s.label for s in shapes} == {"object", "thing"}
        for number, mask in exact.items():
            (mine,) = (s for s in shapes if s.label == clip.kinds[number])
            assert iou(mine.mask, mask) > 0.6


def test_key_frames_come_back_as_drawn_and_ours_say_that_they_are_ours(tmp_path):
    clip = tiny_clip(9)
    drawn = [
        replace(s, occluded=True, z_order=3, group_id=2, attributes=(("track_id", "x"),))
        if s.label == "object"
        else s
        for key in (2, 6)
        for s in shapes_of(clip, key, key)
    ]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=drawn)
    run(export, tmp_path / "r.zip")
    before, after = masks_by_frame(export), masks_by_frame(tmp_path / "r.zip")
    for key in (2, 6):
        assert contents(after[key]) == contents(before[key])
    for frame in (0, 4, 8):
        assert {s.source for s in after[frame]} == {"auto"}
        (one,) = (s for s in after[frame] if s.label == "object")
        beside = (one.occluded, one.z_order, one.group_id, one.attributes)
        assert beside == (True, 3, 2, (("track_id", "x"),))
    assert read_note(tmp_path / "r.zip") == {
        "mask_relay": 1,
        "key_frames": "2,6",
        "objects": [0, 2],
    }


def test_attributes_come_from_the_nearest_key_frame_of_the_object(tmp_path):
    clip = tiny_clip(9, objects=1)
    drawn = [replace(shapes_of(clip, key, key)[0], z_order=key) for key in (0, 8)]
    run(write_clip(tmp_path / "e.zip", clip, (), masks=drawn), tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert [found[frame][0].z_order for frame in range(9)] == [0, 0, 0, 0, 0, 8, 8, 8, 8]


def test_an_object_that_a_human_named_has_the_nearest_attributes_in_a_span_that_is_cut(tmp_path):
    clip = tiny_clip(11, objects=1)
    drawn = [
        replace(shapes_of(clip, key, key)[0], z_order=key, attributes=(("track_id", "x"),))
        for key in (0, 10)
    ]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=drawn)
    report = run(export, tmp_path / "r.zip", frames="8", direction=Direction.FORWARD)
    assert masks_by_frame(tmp_path / "r.zip")[8][0].z_order == 10
    assert report["objects"] == 1


@pytest.mark.parametrize(("value", "objects"), [("0", 2), ("5", 1)])
def test_a_value_that_nobody_typed_names_no_object(tmp_path, value, objects):
    """Promise: what every mask has by default joins no two objects; a name that was typed does."""
    clip = tiny_clip(9, objects=3)
    number = LabelAttribute("track_id", False, "number", "0", ("0", "9", "1"))
    labels = (replace(LABELS[0], attributes=(number,)), *LABELS[1:])
    drawn = [
        replace(shape, attributes=(("track_id", value),))
        for frame, others in ((0, {2, 3}), (8, {1, 2}))
        for shape in shapes_of(clip, frame, frame, without=frozenset(others))
    ]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=drawn, labels=labels)
    assert run(export, tmp_path / "r.zip")["objects"] == objects
    found = masks_by_frame(tmp_path / "r.zip")
    assert all(len(found[frame]) == objects for frame in range(1, 8))


def test_objects_are_not_counted_twice_beside_a_deleted_frame(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(4), (0, 2), deleted=frozenset({1}))
    assert run(export, tmp_path / "r.zip")["objects"] == 2


def test_ignored_labels_stay_as_drawn_on_their_frames_and_appear_on_no_other(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(8), (0, 4), extra=[hud(0), hud(2), hud(7)])
    run(export, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    with_hud = {f: [s for s in shapes if s.label == "HUD"] for f, shapes in found.items()}
    assert {f for f, shapes in with_hud.items() if shapes} == {0, 2, 7}
    assert all(contents(shapes) == contents([hud(f)]) for f, shapes in with_hud.items() if shapes)


def test_an_object_that_a_complete_key_frame_lacks_is_gone_from_there(tmp_path):
    clip = tiny_clip(10)
    masks = [*shapes_of(clip, 0, 0), *shapes_of(clip, 5, 5, without=frozenset({1}))]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=masks)
    run(export, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert {s.label for s in found[4]} == {"object", "thing"}
    assert all({s.label for s in found[frame]} == {"thing"} for frame in range(5, 10))


def test_an_object_that_a_partial_key_frame_lacks_goes_on_through_it(tmp_path):
    clip = tiny_clip(10)
    masks = [*shapes_of(clip, 0, 0), *shapes_of(clip, 5, 5, without=frozenset({1}))]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=masks)
    run(export, tmp_path / "r.zip", keyframes=KeyFrames.PARTIAL)
    found = masks_by_frame(tmp_path / "r.zip")
    assert all({s.label for s in found[frame]} == {"object", "thing"} for frame in range(10))
    # On the key frame it is ours, and never on a pixel that a human set.
    (added,) = (s for s in found[5] if s.source == "auto")
    assert added.label == "object"
    (drawn,) = (s for s in found[5] if s.source != "auto")
    assert contents([drawn]) == contents(shapes_of(clip, 5, 5, without=frozenset({1})))
    assert iou(added.mask, drawn.mask) == 0


def test_a_partial_key_frame_passes_objects_on_in_both_directions(tmp_path):
    clip = tiny_clip(9)
    masks = [
        *shapes_of(clip, 4, 4, without=frozenset({1})),
        *shapes_of(clip, 8, 8, without=frozenset({2})),
    ]
    export = write_clip(tmp_path / "e.zip", clip, (), masks=masks)
    run(export, tmp_path / "r.zip", keyframes=KeyFrames.PARTIAL)
    found = masks_by_frame(tmp_path / "r.zip")
    assert all({s.label for s in found[frame]} == {"object", "thing"} for frame in range(9))


def test_a_job_of_one_frame_works(tmp_path):
    for keyframes in KeyFrames:
        export = write_clip(tmp_path / "e.zip", tiny_clip(1), (0,), start=40)
        report = run(export, tmp_path / "r.zip", keyframes=keyframes)
        assert report["frames_tracked"] == 0
        assert sorted(masks_by_frame(tmp_path / "r.zip")) == [40]


def test_only_the_wanted_frames_are_filled(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(12), (0, 6))
    report = run(export, tmp_path / "r.zip", frames="2,8-9")
    assert sorted(masks_by_frame(tmp_path / "r.zip")) == [0, 2, 6, 8, 9]
    assert report["frames_tracked"] == 3


def test_wanted_frames_are_the_same_as_in_a_run_of_all_frames(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(12), (2, 6))
    run(export, tmp_path / "all.zip")
    run(export, tmp_path / "some.zip", frames="1,4,8")
    every, some = masks_by_frame(tmp_path / "all.zip"), masks_by_frame(tmp_path / "some.zip")
    assert all(contents(some[frame]) == contents(every[frame]) for frame in (1, 2, 4, 6, 8))


def test_forward_leaves_the_frames_before_the_first_key_frame_empty(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(9), (3, 6))
    run(export, tmp_path / "r.zip", direction=Direction.FORWARD)
    assert sorted(masks_by_frame(tmp_path / "r.zip")) == [3, 4, 5, 6, 7, 8]


def test_the_same_run_gives_the_same_bytes(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(10), (2, 7))
    run(export, tmp_path / "a.zip")
    run(export, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_report_says_all_that_was_promised(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(10), (2, 7), extra=[hud(4)])
    track(
        export,
        tmp_path / "r.zip",
        options=RunOptions(engine="builtin"),
        settings=SETTINGS,
        report=tmp_path / "report.json",
        device="cpu",
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["engine"] == "builtin"
    assert report["device"] == "cpu"
    assert (report["frames_total"], report["frames_tracked"], report["objects"]) == (10, 8, 2)
    assert report["seconds"] > 0
    assert report["frames_per_second"] > 0
    assert 0 < report["learning_seconds"] < report["seconds"]
    assert set(report) == {
        "engine",
        "device",
        "width",
        "height",
        "frames_total",
        "frames_tracked",
        "objects",
        "seconds",
        "frames_per_second",
        "learning_seconds",
        "growth",
        "flagged_frames",
        "cleaned",
        "notices",
        "next_frame",
        "left_out",
        "stages",
        "spans",
        "divergence",
    }
    assert set(report["stages"]) == {"decode", "track", "encode", "write"}
    assert [(s["start"], s["stop"], s["direction"]) for s in report["spans"]] == [
        (0, 1, "backward"),
        (3, 6, "both"),
        (8, 9, "forward"),
    ]
    assert all(s["seconds"] > 0 for s in report["spans"])
    computed = [(d["frame"], d["object"]) for d in report["divergence"]]
    assert computed == sorted((f, o) for f in (0, 1, 3, 4, 5, 6, 8, 9) for o in (1, 2))
    assert all(0 <= d["score"] <= 1 for d in report["divergence"])


def test_progress_ends_at_the_number_of_frames_to_compute(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(10), (2, 7))
    seen = []
    track(
        export,
        tmp_path / "r.zip",
        options=RunOptions(),
        settings=SETTINGS,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 8), (8, 8))


def test_progress_of_learning_is_told_before_the_first_frame(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(5), (0,))
    seen = []
    track(
        export,
        tmp_path / "r.zip",
        options=RunOptions(engine="builtin"),
        settings=SETTINGS,
        on_progress=lambda done, total: seen.append((done, total)),
        on_learning=lambda share: seen.append(share),
    )
    shares = [told for told in seen if isinstance(told, float)]
    assert shares == sorted(shares)
    assert shares
    assert all(0 <= share <= 1 for share in shares)
    assert seen.index((1, 4)) > max(i for i, told in enumerate(seen) if isinstance(told, float))


# What cannot be


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """A temp folder of our own, to see what is left in it."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_refusal_leaves_nothing_behind(tmp_path, temp):
    out = tmp_path / "out"
    out.mkdir()
    export = write_clip(tmp_path / "e.zip", tiny_clip(6), (0,))
    for options in ({"frames": "99"}, {"mode": Mode.RESEGMENT}, {"engine": "none"}):
        with pytest.raises(InputError):
            run(export, out / "r.zip", report=out / "r.json", **options)
    with pytest.raises(InputError):
        run(tmp_path / "missing.zip", out / "r.zip")
    assert list(out.iterdir()) == list(temp.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path, temp):
    out = tmp_path / "out"
    out.mkdir()
    export = write_clip(tmp_path / "e.zip", tiny_clip(8), (0,))

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(export, out / "r.zip", options=RunOptions(), settings=SETTINGS, on_progress=interrupt)
    assert list(out.iterdir()) == list(temp.iterdir()) == []


def test_an_older_result_stays_when_a_run_fails(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(6), (0,))
    (tmp_path / "r.zip").write_bytes(b"older")
    with pytest.raises(InputError):
        run(export, tmp_path / "r.zip", frames="99")
    assert (tmp_path / "r.zip").read_bytes() == b"older"


def test_results_are_never_written_over_the_export_or_into_nowhere(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(3), (0,))
    with pytest.raises(InputError, match="is one of the inputs"):
        run(export, export)
    with pytest.raises(InputError, match="There is no folder"):
        run(export, tmp_path / "no" / "r.zip")
    with pytest.raises(InputError, match="is a folder"):
        run(export, tmp_path)


def test_masks_that_reach_out_of_their_images_are_refused(tmp_path):
    clip = tiny_clip(4)
    export = write_clip(tmp_path / "e.zip", clip, (0,), with_images=False)
    smaller = Clip([i[:40, :50].copy() for i in clip.images], clip.maps, clip.kinds)
    images = write_clip(tmp_path / "i.zip", smaller, (0,))
    with pytest.raises(InputError, match="50"):
        run(export, tmp_path / "r.zip", images=images)


def test_a_previous_result_is_refused_where_it_would_do_nothing(tmp_path):
    export = write_clip(tmp_path / "e.zip", tiny_clip(3), (0,))
    run(export, tmp_path / "previous.zip")
    with pytest.raises(InputError, match="--mode resegment"):
        run(export, tmp_path / "r.zip", previous=tmp_path / "previous.zip")


def test_a_device_is_used_where_the_engine_can_and_refused_where_it_is_none():
    import torch

    there = torch.cuda.is_available()
    assert used_device("builtin", "auto") == ("cuda" if there else "cpu")
    assert used_device("builtin", "cuda:0") == ("cuda:0" if there else "cpu")
    assert used_device("builtin", "cpu") == "cpu"
    with pytest.raises(InputError, match="cuda:N"):
        used_device("builtin", "gpu")


# Real files


def test_a_real_job_of_cvat_is_covered_on_all_its_frames(tmp_path):
    fixture = SHARED / "cvat" / "fixtures" / "airacing_264_job_masks.zip"
    if not fixture.exists():
        pytest.skip(f"{fixture} is not here")
    report = run(fixture, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert sorted(found) == list(range(12))
    assert report["frames_tracked"] == 11
    assert all(tracked(shapes) for shapes in found.values())


@pytest.mark.skipif("chair" not in clip_names(), reason="../shared/clips is not here")
def test_a_real_clip_is_followed_between_its_human_masks(tmp_path, monkeypatch):
    use(quick, monkeypatch)
    export = clip_export("chair", tmp_path, every=8, length=9)
    run(export, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert sorted(found) == list(range(9))
    exact = masks_by_frame(clip_export("chair", tmp_path, every=4, length=9))[4]
    assert iou(found[4][0].mask, exact[0].mask) > 0.8
    assert np.mean([len(found[f]) for f in range(9)]) == 1
