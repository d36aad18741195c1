"""Promise: rectangles and polygons of key frames become masks that are followed like drawn ones,
the shapes themselves stay as they are, and without the option nothing is other than before."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import cli
from config import Limits, Settings
from cvat_io.masks import encode_labels, iou, same_pixels
from cvat_io.reader import open_export
from cvat_io.result import read_note
from cvat_io.verify import verify_result
from errors import InputError
from jobs.options import KeyFrames, Mode, Prompts, RunOptions
from jobs.plan import plan_run, prompts_of
from jobs.run_views import options_from
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import contents, masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.helpers.shapes import add_tracks, box, polygon, track
from tests.worker.loops import a_loop, running, wait_for
from tests.worker.prompting import SETTINGS, inputs_of, others, outlined, run
from worker.local import track as relay_track
from worker.prompts import COPY, complete


def no_segmenter():
    raise AssertionError("polygons need no segmenter")


def test_polygons_alone_are_followed_through_all_frames(tmp_path: Path) -> None:
    clip = tiny_clip(11, width=160, height=96)
    path = write_clip(tmp_path / "e.zip", clip, ())
    export = add_tracks(path, outlined(clip, 0, 10), outlined(clip, 0, 10, number=2))
    report = run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS)
    assert report["frames_tracked"] == 9
    found = masks_by_frame(tmp_path / "r.zip")
    assert sorted(found) == list(range(11))
    for index, shapes in found.items():
        for number, exact in encode_labels(clip.maps[index]).items():
            (mine,) = (s for s in shapes if s.label == clip.kinds[number])
            assert iou(mine.mask, exact) > 0.6
            if index in (0, 10):
                assert same_pixels(mine.mask, exact)
    assert {s.source for s in (*found[0], *found[10])} == {"semi-auto"}
    assert {s.source for index in range(1, 10) for s in found[index]} == {"auto"}
    note = read_note(tmp_path / "r.zip")
    assert note is not None
    assert note["key_frames"] == "0,10"


def test_the_shapes_themselves_come_back_to_the_letter(tmp_path: Path) -> None:
    clip = tiny_clip(6)
    path = write_clip(tmp_path / "e.zip", clip, ())
    export = add_tracks(path, outlined(clip, 0), track(95, "thing", box((1, 1, 5, 5), 3)))
    before = export.read_bytes()
    run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS)
    assert others(tmp_path / "r.zip") == others(export)
    assert len(others(export)) == 2
    assert export.read_bytes() == before


def test_polygons_stand_in_for_exactly_the_masks_that_a_human_would_have_drawn(
    tmp_path: Path,
) -> None:
    """The same run, once from masks and once from polygons of the same pixels."""
    clip = tiny_clip(9)
    drawn = write_clip(tmp_path / "masks.zip", clip, (0, 8))
    run(drawn, tmp_path / "from_masks.zip")
    shapes = write_clip(tmp_path / "shapes.zip", clip, ())
    tracks = [outlined(clip, i, number=n) for i in (0, 8) for n in (1, 2)]
    run(add_tracks(shapes, *tracks), tmp_path / "from_shapes.zip", prompts=Prompts.POLYGONS)
    ours = masks_by_frame(tmp_path / "from_shapes.zip")
    theirs = masks_by_frame(tmp_path / "from_masks.zip")
    for index in range(1, 8):
        assert contents(ours[index]) == contents(theirs[index])


def test_masks_and_polygons_of_one_frame_make_one_key_frame(tmp_path: Path) -> None:
    clip = tiny_clip(8)
    masks = shapes_of(clip, 0, 0, without=frozenset({2}))
    path = write_clip(tmp_path / "e.zip", clip, (), masks=masks)
    export = add_tracks(path, outlined(clip, 0, number=2))
    run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS)
    found = masks_by_frame(tmp_path / "r.zip")
    assert {s.label: s.source for s in found[0]} == {"object": "manual", "thing": "semi-auto"}
    assert all(len(found[index]) == 2 for index in range(8))
    with open_export(export, Limits()) as original:
        verify_result(
            tmp_path / "r.zip",
            original,
            (0,),
            SETTINGS.ignore_labels,
            SETTINGS.limits,
            additions_allowed=True,
        )


def test_without_the_option_shapes_change_nothing(tmp_path: Path) -> None:
    """Not a byte of any mask: the result is that of the same export without them, plus them."""
    clip = tiny_clip(8)
    plain = write_clip(tmp_path / "plain.zip", clip, (0, 5))
    run(plain, tmp_path / "plain_result.zip")
    shapes = add_tracks(
        write_clip(tmp_path / "shapes.zip", clip, (0, 5)),
        outlined(clip, 3),
        track(95, "thing", polygon(((1, 1), (2, 2)), 3)),  # could not be a mask
    )
    run(shapes, tmp_path / "shapes_result.zip")
    expected, got = (
        masks_by_frame(tmp_path / f"{name}_result.zip") for name in ("plain", "shapes")
    )
    assert expected.keys() == got.keys()
    assert all(contents(expected[frame]) == contents(got[frame]) for frame in expected)
    assert plan_run(inputs_of(shapes)).key_frames == (0, 5)


@pytest.mark.parametrize("prompts", Prompts)
def test_where_there_are_no_shapes_the_option_changes_no_byte(
    tmp_path: Path, prompts: Prompts
) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(7), (0, 5))
    run(export, tmp_path / "off.zip")
    run(export, tmp_path / "on.zip", prompts=prompts)
    assert (tmp_path / "on.zip").read_bytes() == (tmp_path / "off.zip").read_bytes()


def test_without_the_option_an_export_of_shapes_alone_is_refused_and_told_of_it(
    tmp_path: Path,
) -> None:
    clip = tiny_clip(6)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0))
    with pytest.raises(InputError, match=r"let its polygons become masks \(option prompts\)"):
        run(export, tmp_path / "r.zip")
    with pytest.raises(InputError, match="holds no masks"):
        run(export, tmp_path / "r.zip", prompts=Prompts.BOXES)
    assert not (tmp_path / "r.zip").exists()


def test_a_sliver_without_a_pixel_stops_the_run_with_its_place(tmp_path: Path) -> None:
    clip = tiny_clip(6)
    sliver = polygon(((5, 5), (5.02, 9.02), (5.01, 9.03)), 2)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), track(93, "object", sliver))
    with pytest.raises(InputError, match=r"frame 2 \(track 93\) covers no pixel"):
        run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS)
    assert not (tmp_path / "r.zip").exists()


def test_a_frame_with_a_shape_but_without_an_image_is_refused(tmp_path: Path) -> None:
    clip = tiny_clip(6)
    path = write_clip(tmp_path / "e.zip", clip, (0,), deleted=frozenset({3}))
    export = add_tracks(path, outlined(clip, 3))
    with pytest.raises(InputError, match="Frame 3 has shapes but no image"):
        plan_run(inputs_of(export, prompts=Prompts.POLYGONS))


def test_reusing_the_previous_result_takes_no_shapes(tmp_path: Path) -> None:
    clip = tiny_clip(6)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, (0,)), outlined(clip, 3))
    with pytest.raises(InputError, match="switch one of both off"):
        plan_run(
            inputs_of(
                export,
                prompts=Prompts.POLYGONS,
                mode=Mode.RESEGMENT,
                reuse_previous=True,
                frames="3",
            )
        )


def imported(result: Path, export: Path, target: Path) -> Path:
    """What CVAT exports after a result was imported: the export's images, the result's masks."""
    with zipfile.ZipFile(result) as ours, zipfile.ZipFile(export) as theirs:
        xml = ours.read("annotations.xml")
        xml = xml.replace(b'source="auto"', b'source="manual"')
        xml = xml.replace(b'source="semi-auto"', b'source="manual"')
        images = {n: theirs.read(n) for n in theirs.namelist() if n != "annotations.xml"}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("annotations.xml", xml)
        for name, data in images.items():
            archive.writestr(name, data)
    return target


def test_a_result_that_comes_back_from_cvat_needs_nothing_anew(tmp_path: Path) -> None:
    """Its polygons stand beside their masks, and so count no more."""
    clip = tiny_clip(9)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0, 8))
    result = tmp_path / "r.zip"
    run(export, result, prompts=Prompts.POLYGONS)
    again = imported(result, export, tmp_path / "again.zip")
    report = run(again, tmp_path / "r2.zip", result, mode=Mode.RESEGMENT, prompts=Prompts.POLYGONS)
    assert report["frames_tracked"] == 0
    one, two = masks_by_frame(result), masks_by_frame(tmp_path / "r2.zip")
    assert {f: len(s) for f, s in one.items()} == {f: len(s) for f, s in two.items()}


def test_an_export_that_never_saw_the_result_is_tracked_from_its_shapes_again(
    tmp_path: Path,
) -> None:
    """They are all that it holds: frames without masks were not emptied by anybody."""
    clip = tiny_clip(9)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0, 8))
    run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS)
    options = {"mode": Mode.RESEGMENT, "prompts": Prompts.POLYGONS}
    run(export, tmp_path / "r2.zip", tmp_path / "r.zip", **options)
    one, two = masks_by_frame(tmp_path / "r.zip"), masks_by_frame(tmp_path / "r2.zip")
    assert one.keys() == two.keys()
    assert all(contents(one[frame]) == contents(two[frame]) for frame in one)


def test_a_polygon_on_a_frame_that_lost_its_object_is_a_correction(tmp_path: Path) -> None:
    clip = tiny_clip(9)
    export = write_clip(tmp_path / "e.zip", clip, (0, 8))
    result = tmp_path / "r.zip"
    run(export, result)
    again = imported(result, export, tmp_path / "again.zip")
    with zipfile.ZipFile(again) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    # The human deleted both masks of frame 4 and drew the objects anew.
    tracks = members["annotations.xml"].split(b"  <track ")
    kept = [t for t in tracks if b'<mask frame="4" keyframe="1" outside="0"' not in t]
    assert len(kept) == len(tracks) - 2
    if b"</annotations>" not in kept[-1]:
        kept[-1] += b"</annotations>\n"
    members["annotations.xml"] = b"  <track ".join(kept)
    with zipfile.ZipFile(again, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    add_tracks(again, outlined(clip, 4), outlined(clip, 4, number=2))
    run(again, tmp_path / "r2.zip", result, mode=Mode.RESEGMENT, prompts=Prompts.POLYGONS)
    found = masks_by_frame(tmp_path / "r2.zip")
    for number, exact in encode_labels(clip.maps[4]).items():
        (mine,) = (s for s in found[4] if s.label == clip.kinds[number])
        assert same_pixels(mine.mask, exact)
    note = read_note(tmp_path / "r2.zip")
    assert note is not None
    assert note["key_frames"] == "0,4,8"


def test_partial_key_frames_let_other_objects_go_through_a_polygon(tmp_path: Path) -> None:
    clip = tiny_clip(9)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, (0,)), outlined(clip, 5))
    run(export, tmp_path / "r.zip", prompts=Prompts.POLYGONS, keyframes=KeyFrames.PARTIAL)
    labels = sorted(s.label for s in masks_by_frame(tmp_path / "r.zip")[5])
    assert labels == ["object", "thing"]


def test_the_copy_is_made_once_and_the_first_one_stays(tmp_path: Path) -> None:
    """Whoever comes late, with whatever machine, works on what the others work on."""
    clip = tiny_clip(6)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0))
    inputs = inputs_of(export, prompts=Prompts.POLYGONS)
    plan = plan_run(inputs)
    made = complete(inputs, plan, tmp_path, make_segmenter=no_segmenter)
    assert made is not None
    assert (made.annotations, made.original) == (tmp_path / COPY, export)
    first = (tmp_path / COPY).stat()
    complete(inputs, plan, tmp_path, make_segmenter=no_segmenter)
    assert (tmp_path / COPY).stat() == first
    assert prompts_of(made) == []
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"e.zip", COPY}


def test_stopped_before_the_end_it_leaves_nothing(tmp_path: Path) -> None:
    clip = tiny_clip(6)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0, 3))
    inputs = inputs_of(export, prompts=Prompts.POLYGONS)
    made = complete(
        inputs, plan_run(inputs), tmp_path, make_segmenter=no_segmenter, should_stop=lambda: True
    )
    assert made is None
    assert not (tmp_path / COPY).exists()


def test_the_queue_gives_the_same_bytes_as_relay_track(
    tmp_path: Path, jobs: Jobs, settings: Settings
) -> None:
    clip = tiny_clip(9)
    export = add_tracks(
        write_clip(tmp_path / "264.zip", clip, ()),
        outlined(clip, 0, 8),
        outlined(clip, 4, number=2),
    )
    options = RunOptions(engine="flow", prompts=Prompts.POLYGONS)
    with export.open("rb") as stream:
        job = jobs.receive("264.zip", stream)
    assert job.state is JobState.READY
    assert any("no mask to track" in warning for warning in job.revision.warnings)
    with pytest.raises(InputError, match="holds no masks"):
        jobs.start_run("264", RunOptions(engine="flow"))
    assert jobs.plan("264", options).key_frames == (0, 4, 8)
    run_view = jobs.start_run("264", options)
    assert run_view.options.prompts is Prompts.POLYGONS
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    relay_track(export, tmp_path / "here.zip", options=options, settings=settings)
    assert jobs.result("264").read_bytes() == (tmp_path / "here.zip").read_bytes()


def test_a_run_that_was_stored_before_the_option_came_has_it_off() -> None:
    assert options_from({"mode": "initial", "engine": "flow"}).prompts is Prompts.OFF
    assert options_from({"prompts": "boxes,polygons"}).prompts is Prompts.BOTH


def test_the_command_line_takes_the_option_and_names_its_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = tiny_clip(6)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), outlined(clip, 0))
    common = ["track", str(export), "--engine", "flow", "--out"]
    assert cli.main([*common, "a.zip"]) == 2
    assert "option prompts" in capfd.readouterr().err
    assert cli.main([*common, "a.zip", "--prompts", "circles"]) == 2
    assert "polygons" in capfd.readouterr().err
    assert not (tmp_path / "a.zip").exists()
    assert cli.main([*common, "a.zip", "--prompts", "boxes,polygons"]) == 0
    assert sorted(masks_by_frame(tmp_path / "a.zip")) == list(range(6))


def test_a_copy_that_was_lost_is_made_again_by_the_next_worker(
    tmp_path: Path, jobs: Jobs, settings: Settings
) -> None:
    """Whoever finds no copy of the annotations makes it, and it is the same one."""
    clip = tiny_clip(9)
    export = add_tracks(write_clip(tmp_path / "264.zip", clip, ()), outlined(clip, 0, 8))
    options = RunOptions(engine="flow", prompts=Prompts.POLYGONS)
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", options)
    loop = a_loop(settings, jobs.database)
    assert loop.step()  # it has learned: the masks are there
    copy = jobs.files.spans("264", 1, 1) / COPY
    assert copy.is_file()
    copy.unlink()
    with running(loop):
        wait_for(jobs, "264", JobState.COMPLETED)
    relay_track(export, tmp_path / "here.zip", options=options, settings=settings)
    assert jobs.result("264").read_bytes() == (tmp_path / "here.zip").read_bytes()
