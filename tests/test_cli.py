"""Promise: the contract of the CLI.

Exit 0, 2 or 1; bad input costs exactly one line on stderr, at most 400 characters, and leaves
nothing behind; `relay track` covers the frames and writes the report. Every test runs the real
command in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from config import Limits
from cvat_io.masks import same_pixels
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from demo.clip import make_clip
from demo.sample import write_sample

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT.parent / "shared/cvat/fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared is not here")


@pytest.fixture
def relay(tmp_path: Path):
    """Run `relay` with its own temp folder, data folder and working directory."""
    for name in ("temp", "out", "cwd"):
        (tmp_path / name).mkdir()

    def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in {"BROKER_URL", "DATABASE_URL"}}
        env |= {"TMPDIR": str(tmp_path / "temp"), "DATA_DIR": str(tmp_path / "data")} | settings
        return subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path / "cwd",
            env=env | {"PYTHONPATH": str(ROOT)},
            timeout=300,
        )

    return run


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Check the form of a refusal and return its sentence."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.endswith("\n")
    sentence = done.stderr[:-1]
    assert "\n" not in sentence
    assert 0 < len(sentence) <= 400
    assert sentence.isprintable()
    return sentence


def nothing_left(tmp_path: Path) -> bool:
    return not any((tmp_path / "out").iterdir()) and not any((tmp_path / "temp").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["track"],
        ["track", "a.zip"],
        ["track", "a.zip", "--out", "b.zip", "--mode", "sideways"],
        ["submit", "a.zip", "--parallel-spans", "many"],
        ["track", "a.zip", "--out", "b.zip", "--seed", "-1"],
        ["submit", "a.zip", "--seed", "4294967296"],
        ["track", "a.zip", "--out", "b.zip", "--threads", "-2"],
        ["worker", "--threads", "all"],
        ["result", "264"],
        ["models", "get"],
        ["check", "no-such-file.zip"],
        ["result", "264", "--out", "x.zip"],
    ],
)
def test_wrong_usage_is_one_sentence(relay, arguments: list[str]) -> None:
    refused(relay(*arguments))


def test_a_bad_setting_is_named_at_start(relay) -> None:
    assert "PORT" in refused(relay("jobs", PORT="http"))


def png(width: int, height: int) -> bytes:
    import cv2

    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


XML = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><job><id>1</id><size>3</size><mode>interpolation</mode>
<overlap>0</overlap><start_frame>0</start_frame><stop_frame>2</stop_frame><frame_filter></frame_filter>
<labels><label><name>a</name><color>#ff0000</color><type>any</type><attributes></attributes></label>
</labels></job><dumped></dumped><original_size><width>8</width><height>6</height></original_size></meta>
<track id="0" label="a" source="manual"><mask frame="0" keyframe="1" outside="0" occluded="0"
rle="RLE" left="1" top="1" width="2" height="2" z_order="0"></mask></track></annotations>"""


def archive(path: Path, xml: bytes, images: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as zip_:
        zip_.writestr("annotations.xml", xml)
        for name, data in (images or {}).items():
            zip_.writestr(name, data)
    return path


def good_images() -> dict[str, bytes]:
    return {f"images/frame_{i:06d}.PNG": png(8, 6) for i in range(3)}


def bad_inputs(folder: Path) -> dict[str, Path]:
    good = XML.replace(b"RLE", b"0, 4")
    images = good_images()
    whole = archive(folder / "whole.zip", good, images).read_bytes()
    paths = {
        "no zip at all": b"hello",
        "empty": b"",
        "truncated zip": whole[: len(whole) // 2],
        "binary noise": bytes(range(256)) * 40,
    }
    files = {}
    for name, data in paths.items():
        files[name] = folder / f"{name.replace(' ', '_')}.zip"
        files[name].write_bytes(data)
    cases = {
        "no images": (good, None),
        "bad XML": (good[:-20], images),
        "bad run lengths": (XML.replace(b"RLE", b"0, 5"), images),
        "run lengths that are no numbers": (XML.replace(b"RLE", b"0, nan"), images),
        "negative run lengths": (XML.replace(b"RLE", b"-4, 8"), images),
        "unknown label": (good.replace(b'label="a"', b'label="\xe2\x80\xae b"'), images),
        "mask outside the image": (good.replace(b'left="1"', b'left="7"'), images),
        "frame outside the job": (good.replace(b'frame="0"', b'frame="9"'), images),
        "no masks": (good[: good.index(b"<track")] + b"</annotations>", images),
        "wrong image size": (good, images | {"images/frame_000000.PNG": png(4, 4)}),
        "wrong size of a later image": (good, images | {"images/frame_000002.PNG": png(4, 4)}),
        "truncated image": (
            good,
            images | {"images/frame_000001.PNG": images["images/frame_000001.PNG"][:60]},
        ),
        "external entity": (
            good.replace(
                b"<annotations>",
                b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotations>',
                1,
            ),
            images,
        ),
        "a name that climbs": (good, images | {"../evil.png": b"x"}),
    }
    for name, (xml, content) in cases.items():
        files[name] = archive(folder / f"{name.replace(' ', '_')}.zip", xml, content)
    return files


def test_bad_input_is_refused_with_one_line_and_leaves_nothing_behind(
    relay, tmp_path: Path
) -> None:
    source = tmp_path / "sources"
    source.mkdir()
    for name, path in bad_inputs(source).items():
        before = path.read_bytes()
        done = relay("track", path, "--out", tmp_path / "out/r.zip", "--report", tmp_path / "out/r")
        assert done.returncode == 2, f"{name}: {done.returncode} {done.stdout} {done.stderr}"
        refused(done)
        assert nothing_left(tmp_path), name
        assert path.read_bytes() == before


@needs_fixtures
def test_images_1_1_is_refused_with_what_to_do(relay, tmp_path: Path) -> None:
    for fixture in sorted(FIXTURES.glob("images11_*.xml")):
        done = relay("track", fixture, "--out", tmp_path / "out/r.zip")
        assert "CVAT for video 1.1" in refused(done)
        assert nothing_left(tmp_path)


@needs_fixtures
def test_the_real_export_is_covered_on_all_its_frames(relay, tmp_path: Path) -> None:
    export = FIXTURES / "airacing_264_job_masks.zip"
    out, report = tmp_path / "out/r.zip", tmp_path / "out/report.json"
    done = relay("track", export, "--out", out, "--report", report)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with open_export(export, Limits()) as before, open_export(out, Limits()) as after:
        human = [s for s in before.tracks() if isinstance(s, MaskShape)]
        ours = [s for s in after.tracks() if isinstance(s, MaskShape)]
        assert after.meta == before.meta
    assert {s.frame for s in ours} == set(range(12))
    for label in ("drivable-area", "ego", "opponent-car"):
        assert {s.frame for s in ours if s.label == label} == set(range(12))
    kept = [s for s in ours if s.frame == 0]
    assert len(kept) == len(human)
    for a, b in zip(human, kept, strict=True):
        assert (a.label, a.source, a.z_order) == (b.label, b.source, b.z_order)
        assert same_pixels(a.mask, b.mask)
    assert {s.source for s in ours if s.frame} == {"auto"}
    with zipfile.ZipFile(out) as zip_:
        assert zip_.namelist() == ["annotations.xml"]
    content = json.loads(report.read_text())
    assert content["frames_total"] == 12
    assert content["frames_tracked"] == 11
    assert content["objects"] == 5
    assert set(content["stages"]) == {"decode", "track", "encode", "write"}
    assert [(s["start"], s["stop"]) for s in content["spans"]] == [(1, 11)]
    assert {d["frame"] for d in content["divergence"]} == set(range(1, 12))
    assert all(0 <= d["score"] <= 1 for d in content["divergence"])
    assert {"engine", "device", "seconds", "frames_per_second"} <= set(content)
    assert isinstance(content["learning_seconds"], float)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["r.zip", "report.json"]
    assert not any((tmp_path / "temp").iterdir())


def test_the_same_export_gives_the_same_bytes_and_every_other_format(relay, tmp_path: Path) -> None:
    sample = tmp_path / "sample.zip"
    write_sample(sample, make_clip(frames=6, width=160, height=90))
    results = [tmp_path / "out/a.zip", tmp_path / "out/b.zip"]
    for out in results:
        assert relay("track", sample, "--out", out).returncode == 0
    assert results[0].read_bytes() == results[1].read_bytes()
    for form, name in (("coco", "c.zip"), ("masks", "m.zip"), ("overlay", "o.mp4")):
        out = tmp_path / "out" / name
        done = relay("export", results[0], "--images", sample, "--format", form, "--out", out)
        assert done.returncode == 0, done.stderr
        assert out.stat().st_size > 0
    with zipfile.ZipFile(tmp_path / "out/m.zip") as zip_:
        assert len(zip_.namelist()) >= 6
    checked = relay("check", sample)
    assert checked.returncode == 0
    assert "key frame" in checked.stdout.lower()


def test_a_seed_and_threads_out_of_range_are_answered_with_the_range(relay, tmp_path: Path) -> None:
    seed = refused(relay("track", "a.zip", "--out", "b.zip", "--seed", "1.5"))
    assert "--seed" in seed
    assert "from 0 to 4294967295" in seed
    assert "from 0 to 1024" in refused(relay("worker", "--threads", "9999"))
    assert "THREADS" in refused(relay("jobs", THREADS="-1"))


def test_a_seed_and_threads_are_taken(relay, tmp_path: Path) -> None:
    out = tmp_path / "out/r.zip"
    sample, choice = sample_of(tmp_path), ("--seed", "7", "--threads", "1")
    done = relay("track", sample, "--out", out, *choice)
    assert done.returncode == 0, done.stderr


def test_only_the_frames_asked_for_are_filled(relay, tmp_path: Path) -> None:
    sample = tmp_path / "sample.zip"
    write_sample(sample, make_clip(frames=8, width=160, height=90))
    out = tmp_path / "out/r.zip"
    assert relay("track", sample, "--out", out, "--frames", "2, 4-5").returncode == 0
    with open_export(out, Limits()) as export:
        frames = {s.frame for s in export.tracks() if isinstance(s, MaskShape)}
    assert frames == {0, 2, 4, 5}
    assert "7" in refused(relay("track", sample, "--out", tmp_path / "x.zip", "--frames", "99"))
    refused(relay("track", sample, "--out", tmp_path / "x.zip", "--frames", "1:2"))


def test_an_output_that_cannot_be_written_is_said_before_the_work(relay, tmp_path: Path) -> None:
    sample = tmp_path / "sample.zip"
    write_sample(sample, make_clip(frames=3, width=160, height=90))
    sentence = refused(relay("track", sample, "--out", tmp_path / "no/such/folder/r.zip"))
    assert "no/such/folder" in sentence


def test_an_unknown_engine_is_refused_with_the_known_ones(relay, tmp_path: Path) -> None:
    sample = tmp_path / "sample.zip"
    write_sample(sample, make_clip(frames=3, width=160, height=90))
    done = relay("track", sample, "--out", tmp_path / "out/r.zip", "--engine", "magic")
    assert "builtin" in refused(done)


def test_models_lists_what_is_here(relay) -> None:
    done = relay("models")
    assert done.returncode == 0
    assert "builtin" in done.stdout
    assert relay("models", "get", "builtin").returncode == 0
    refused(relay("models", "get", "magic"))


def test_jobs_on_an_empty_installation_is_an_empty_list(relay) -> None:
    done = relay("jobs")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def sample_of(tmp_path: Path, frames: int = 3) -> Path:
    sample = tmp_path / "sample.zip"
    write_sample(sample, make_clip(frames=frames, width=160, height=90))
    return sample


def test_a_reader_who_leaves_early_is_no_error(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "cli", "check", str(sample_of(tmp_path))]
    with subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli", "check", str(sample_of(tmp_path))]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_stderr_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m cli check {sample_of(tmp_path)} 2>&-"
    assert (
        subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b"PORT=5000\nA B C\n"])
def test_an_env_file_that_cannot_be_read_is_named(relay, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cwd/.env").write_bytes(content)
    assert ".env" in refused(relay("jobs"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_work_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    sample = sample_of(tmp_path, frames=60)
    (tmp_path / "temp").mkdir()
    (tmp_path / "out").mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", "track", str(sample), "--out", str(tmp_path / "out/r.zip")],
        env=os.environ | {"TMPDIR": str(tmp_path / "temp")},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal, also where the tests themselves run in the background or under nohup.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (number, signal.SIGINT)],
    )
    end = time.monotonic() + 60
    # Once it has written: between making a folder and noting it down, Python itself may be hit.
    while not any(p.is_file() for p in (tmp_path / "temp").rglob("*")) and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said == "Stopped.\n"
    assert nothing_left(tmp_path)


def test_no_output_takes_the_place_of_an_input(relay, tmp_path: Path) -> None:
    sample = sample_of(tmp_path)
    result = tmp_path / "result.zip"
    assert relay("track", sample, "--out", result).returncode == 0
    before = sample.read_bytes(), result.read_bytes()
    refused(relay("track", sample, "--out", sample))
    again = ("track", sample, "--mode", "resegment", "--frames", "1", "--previous", result)
    refused(relay(*again, "--out", result))
    refused(relay(*again, "--out", tmp_path / "new.zip", "--report", result))
    for form in ("coco", "masks", "overlay"):
        export = ("export", result, "--images", sample, "--format", form, "--out")
        refused(relay(*export, result))
        refused(relay(*export, sample))
        refused(relay(*export, tmp_path / "no/such/folder/x"))
    assert (sample.read_bytes(), result.read_bytes()) == before


def test_images_of_another_job_are_refused(relay, tmp_path: Path) -> None:
    result, other = tmp_path / "result.zip", tmp_path / "other.zip"
    assert relay("track", sample_of(tmp_path), "--out", result).returncode == 0
    write_sample(other, make_clip(frames=5, width=64, height=48))
    done = relay(
        "export", result, "--images", other, "--format", "overlay", "--out", tmp_path / "o.mp4"
    )
    refused(done)
