"""The `relay` command. Every verb is a thin call into the rooms below.

Contract (stable): exit 0 done; 2 the input or the usage is at fault (exactly one line on stderr
that says what and what to do; it is the last one where long work had told how far it is before);
1 our fault (or, of `relay check --result` with nothing on stderr,
that CVAT would not keep all). Rooms are imported inside the verbs, so that
`relay --help` is instant and a web host without the GPU stack can still serve.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import cli_check
import cli_cvat
import cli_export
import cli_keys
import cli_models
from arguments import build_parser
from cli_check import run_options
from cli_keys import by_a_person
from config import Settings, load
from console import (
    complain,
    drop_stdout,
    flush_stdout,
    hint,
    note,
    prepare_stdout,
    progress,
    quiet_codecs,
    say,
    signals_unwind,
)
from errors import InputError, one_line

if TYPE_CHECKING:
    from jobs.options import RunOptions
    from jobs.service import Jobs
    from jobs.views import JobView

DONE, OUR_FAULT, INPUT_FAULT, INTERRUPTED = 0, 1, 2, 130
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; nothing but our own words reaches stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_stdout()
    try:
        options = build_parser().parse_args(arguments)
        settings = load()
        run = VERBS[options.verb]
        if (
            options.verb in LONG_LIVED
        ):  # servers and workers log to stderr and handle signals themselves
            import logs

            logs.start(settings.log_format, debug=settings.debug)
            return run(options, settings)
        with quiet_codecs(), signals_unwind():
            code = run(options, settings)
            flush_stdout()
            return code
    except InputError as exc:
        return complain(str(exc), INPUT_FAULT)
    except BrokenPipeError:  # the reader of our output has left, as `relay jobs | head` does
        drop_stdout()
        return DONE
    except KeyboardInterrupt:
        return complain("Stopped.", INTERRUPTED)
    except OSError as exc:
        if exc.errno not in DISK_FULL:
            return _own_fault(exc)
        drop_stdout()
        where = f" ({exc.filename})" if exc.filename else ""
        reason = exc.strerror or "no space"
        return complain(f"Writing failed{where}: {reason}; make room and try again.", INPUT_FAULT)
    except Exception as exc:  # noqa: BLE001 - the outermost boundary: our fault, with its traceback
        return _own_fault(exc)


def _own_fault(exc: Exception) -> int:
    traceback.print_exception(exc)
    kind = type(exc).__name__
    return complain(f"This is a fault of Mask Relay, not of your file ({kind}).", OUR_FAULT)


def _with_threads(options: argparse.Namespace, settings: Settings) -> Settings:
    return settings if options.threads is None else replace(settings, threads=options.threads)


def _track(options: argparse.Namespace, settings: Settings) -> int:
    _need_worker_stack()
    from worker.local import track

    with progress("Tracking") as bar:
        report = track(
            options.export,
            options.out,
            options=run_options(options, settings),
            settings=_with_threads(options, settings),
            previous=options.previous,
            images=options.images,
            report=options.report,
            device=options.device,
            on_progress=bar.advance,
            on_learning=lambda share: bar.learn(f"{share:.0%}"),
            on_engine=lambda choice: hint(f"Engine {choice.name}: {choice.reason}."),
            on_notice=bar.tell,
        )
    again = options.mode == "resegment"
    if not report["frames_tracked"]:
        say(
            f"{options.out}: nothing was left to compute, 0 of {report['frames_total']} frames "
            "recomputed."
        )
        return DONE
    say(
        f"{options.out}: {report['frames_tracked']} of {report['frames_total']} frames "
        f"{'recomputed' if again else 'tracked'}, "
        f"{report['objects']} objects, {report['frames_per_second']:.1f} frames/s."
    )
    growth = report["growth"]
    expected = growth["expected_iou"]
    by_hand = "1 frame" if growth["human_frames"] == 1 else f"{growth['human_frames']} frames"
    say(
        f"{by_hand} by hand became {growth['labelled_frames']} labelled "
        f"frames ({growth['ratio']:.1f} times as many)"
        + ("." if expected is None else f", expected IoU {expected:.2f}.")
    )
    if options.min_speck or options.min_hole:
        cleaned = report["cleaned"]
        say(f"Cleaned: {cleaned['specks']} specks removed, {cleaned['holes']} holes filled.")
    for each in report["left_out"]:
        say(
            f"Left out: {each['label']} (object {each['object']}) on {each['frames']}, where "
            f"divergence reached {options.stop_at_divergence:g}."
        )
    if (found := report["next_frame"]) is not None:
        say(
            f"Next frame to correct: {found['frame']}, {found['label']} (object "
            f"{found['object']}): {found['reason']}; expected to repair {found['repairs']:.1f} "
            f"masks (mean IoU +{found['iou_gain']:.2f})."
        )
    return DONE


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    import server

    server.patch(options.async_mode)
    if options.port is not None and not 0 <= options.port <= 65535:
        raise InputError(f"--port {options.port} is no port: give a number from 0 to 65535.")
    settings = replace(
        settings,
        host=options.host or settings.host,
        port=settings.port if options.port is None else options.port,
    )
    server.serve(settings, options.async_mode)
    return DONE


def _worker(options: argparse.Namespace, settings: Settings) -> int:
    _need_worker_stack()
    from worker.main import run_worker

    settings = _with_threads(options, settings)
    return int(run_worker(settings, name=options.name, device=options.device))


@by_a_person
def _submit(options: argparse.Namespace, settings: Settings) -> int:
    from jobs.options import Priority, require_fit
    from jobs.service import Jobs

    chosen = replace(
        run_options(options, settings),
        reuse_previous=options.reuse_previous,
        parallel_spans=options.parallel_spans,
        priority=Priority(options.priority),
    )
    require_fit(chosen)
    _refuse_wrong_weights(chosen, settings)
    jobs = Jobs(settings)
    with _open(options.export) as stream:
        job = jobs.receive(options.export.name, stream)
    if job.revision.refused:
        raise InputError(job.revision.refused)
    if not options.again and _is_done(job, chosen):
        note(f"Job {job.id}: run {job.results[0]} did just this; --again computes it once more.")
        print(job.id, flush=True)
        return DONE
    run = jobs.start_run(job.id, chosen)
    print(job.id, flush=True)
    if options.wait:
        _wait(jobs, job.id, run.number)
        return DONE
    for notice in run.notices:
        note(notice)
    return DONE


def _is_done(job: JobView, chosen: RunOptions) -> bool:
    """Whether the latest run on this very export is done and had the same options."""
    from jobs.views import RunState

    run = job.run
    if run is None or run.state is not RunState.DONE:
        return False
    # These say how a run is computed, not what comes of it.
    how = {name: getattr(chosen, name) for name in ("priority", "parallel_spans", "delete_zip")}
    return replace(run.options, **how) == chosen


def _refuse_wrong_weights(options: RunOptions, settings: Settings) -> None:
    """Refuse a name that is no engine's, and weights that lie here and are wrong.

    Weights that are not here may be where the workers are, which look at them before they begin.
    """
    from importlib.util import find_spec

    from tracker import engines, models, segmenters

    engine = engines.resolve(options.engine)
    if find_spec("torch") is None:  # a web host, which cannot read weights
        return
    models.use_folder(settings.model_dir)
    if engine.model and models.is_present(engine.model):
        engines.require(engine.name)
    named = options.segmenter in [one.name for one in models.models()]
    if named and models.is_present(options.segmenter):
        segmenters.require(options.segmenter)


def _wait(jobs: Jobs, job_id: str, number: int) -> None:
    """Follow one run until it ends; raise its sentence when it did not end well."""
    import time

    from sqlalchemy.exc import InterfaceError, OperationalError

    from jobs.views import RunState

    if not jobs.workers():
        hint("No worker is running: start one with `relay worker`.")
    told: set[str] = set()
    with progress("Tracking") as bar:
        while True:
            time.sleep(0.2)  # the database is the truth and another process writes it
            try:
                run = next(r for r in jobs.job(job_id).runs if r.number == number)
            except (OperationalError, InterfaceError):  # away for a while: the run goes on
                continue
            for notice in run.notices:
                if notice not in told:
                    told.add(notice)
                    bar.tell(notice)
            if run.learning:
                bar.learn()
            else:
                bar.advance(run.frames_done, run.frames_total)
            if run.state is RunState.DONE:
                return
            if run.state in {RunState.FAILED, RunState.CANCELLED}:
                raise InputError(run.error or f"The run of job {job_id} was cancelled.")


_ACTED = {
    "cancel": "cancelled; finished frames are kept, `relay retry` goes on from them.",
    "pause": "paused; `relay resume` goes on.",
    "resume": "goes on.",
    "retry": "queued again; finished frames are kept.",
}


@by_a_person
def _act(options: argparse.Namespace, settings: Settings) -> int:
    """Cancel, pause, resume or retry the run of a job, by the name of the verb."""
    from jobs.service import Jobs

    jobs = Jobs(settings)
    acts = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume, "retry": jobs.retry}
    acts[options.verb](options.job)
    say(f"{options.job}: {_ACTED[options.verb]}")
    return DONE


def _jobs(_options: argparse.Namespace, settings: Settings) -> int:
    from jobs.service import Jobs
    from jobs.views import RunState

    page = Jobs(settings).list_jobs(limit=10_000)
    if not page.jobs:
        say(f"No jobs yet in {settings.data_dir}.")
    else:
        print(f"{'JOB':<24} {'STATE':<10} {'FRAMES':>13}  NOTE")
    for job in page.jobs:
        done, total = (job.run.frames_done, job.run.frames_total) if job.run else (0, 0)
        frames = f"{done}/{total}" if job.run else str(job.revision.frames)
        paused = job.run is not None and job.run.state is RunState.PAUSED
        note = "Paused; `relay resume` goes on." if paused else one_line(job.reason)
        print(f"{job.id:<24} {job.state.value:<10} {frames:>13}  {note}")
    for notice in page.notices:
        print(one_line(notice))
    return DONE


@by_a_person
def _result(options: argparse.Namespace, settings: Settings) -> int:
    from cvat_io.atomic import require_writable
    from jobs.files import copy_atomically
    from jobs.service import Jobs

    jobs = Jobs(settings)
    copy_atomically(jobs.result(options.job), require_writable(options.out))
    jobs.result_downloaded(options.job)
    say(str(options.out))
    return DONE


def _models(options: argparse.Namespace, settings: Settings) -> int:
    _need_worker_stack()
    return cli_models.models(options, settings)


def _need_worker_stack() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("cv2", "av", "scipy", "pycocotools") if find_spec(name) is None]
    if missing:
        raise InputError(
            "This installation has only the web part: install the worker part too, with "
            "`pip install 'mask-relay[worker]'` or, in a checkout, `make setup`."
        )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb")
    except OSError as exc:
        raise InputError(f"{path} cannot be read ({exc.strerror}): give an export's path.") from exc
    with stream:
        yield stream


VERBS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "track": _track,
    "check": cli_check.check,
    "serve": _serve,
    "worker": _worker,
    "submit": _submit,
    **dict.fromkeys(_ACTED, _act),
    "jobs": _jobs,
    "result": _result,
    "export": cli_export.export,
    "pull": cli_cvat.pull,
    "push": cli_cvat.push,
    "models": _models,
    "token": cli_keys.token,
    "audit": cli_keys.audit,
}
LONG_LIVED = {"serve", "worker"}


if __name__ == "__main__":
    sys.exit(main())
