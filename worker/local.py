"""`relay track`: a whole run in this process, without server, broker or database.

It goes through the same plan, spans and assembly as the queue, so its result is the same archive.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from config import Settings
from cvat_io.atomic import require_other, require_writable
from errors import InputError
from jobs.options import RunOptions, require_previous
from jobs.plan import RunInputs, plan_run
from jobs.report import Report
from tracker import engines, models, segmenters
from tracker.segmenters.protocol import Segmenter
from worker.assemble import assemble
from worker.compute import compute_span
from worker.learning import Learned, learn_objects
from worker.prompts import complete, segmenter
from worker.seeds import read_seeds


def track(
    export: Path,
    out: Path,
    *,
    options: RunOptions,
    settings: Settings,
    previous: Path | None = None,
    images: Path | None = None,
    report: Path | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    on_learning: Callable[[float], None] | None = None,
    on_engine: Callable[[engines.Choice], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Report:
    """Fill the frames of `export` and write the archive for CVAT to `out`.

    `previous`: our last result, for a re-segmentation. `images`: the archive that holds the
    images, where the export has none. `report`: where to write REPORT.json. `device`: "auto",
    "cpu" or "cuda:N". `on_progress(done, total)` hears of frames; `on_learning` hears before that
    which share of learning the objects is done, in [0, 1]; `on_engine` what "auto" took, and why;
    `on_notice` each sentence once that people should know, such as an option that changes nothing.

    Raises InputError for whatever a person can mend. After any error nothing is left behind, in
    the folder of `out` or elsewhere.
    """
    began = time.time()
    sources = (export, images, previous)
    require_other(out, *sources)
    out = require_writable(out)
    if report is not None:
        require_other(report, *sources)
        report = require_writable(report)
        if report == out:
            raise InputError(f"{out} cannot be both the result and the report: name another file.")
    require_previous(options, previous)
    require_device(device)
    models.use_folder(settings.model_dir)
    engine = engines.resolve(options.engine).name if options.engine != engines.AUTO else ""
    if not engine:
        choice = engines.choose(lambda: own_device(device))
        engine = choice.name
        if on_engine is not None:
            on_engine(choice)
    engines.require(engine)
    segmenters.require(options.segmenter)
    inputs = RunInputs(
        annotations=export,
        images=images or export,
        previous=previous,
        options=options,
        engine=engine,
        ignore_labels=settings.ignore_labels,
        limits=settings.limits,
    )
    plan = plan_run(inputs)
    total = plan.frames_total
    place = used_device(engine, device)
    notices: list[str] = []

    def notice(sentence: str) -> None:
        if sentence in notices:
            return
        notices.append(sentence)
        if on_notice is not None:
            on_notice(sentence)

    def make_segmenter() -> Segmenter:
        return segmenter(options, own_device(device), on_notice=notice)

    for note in plan.notes:
        notice(note)

    with tempfile.TemporaryDirectory(prefix="mask-relay-") as name:
        completed = complete(
            inputs,
            plan,
            Path(name),
            make_segmenter=make_segmenter,
            threads=settings.threads,
        )
        assert completed is not None  # nobody stops it
        inputs = completed
        keys = plan.key_frames if plan.spans else ()
        seeds = read_seeds(inputs.annotations, inputs.limits, keys, inputs.ignore_labels, plan.anew)
        tell = on_progress or _nobody
        tell(0, total)
        learned = Learned(None, 0.0)
        if plan.spans:
            learned = learn_objects(
                inputs,
                plan,
                device=place,
                threads=settings.threads,
                seeds=seeds,
                on_progress=on_learning,
            )
        files = {}
        before = 0
        for span in plan.spans:
            outcome = compute_span(
                inputs,
                plan,
                span,
                folder=Path(name),
                fence=1,
                device=place,
                threads=settings.threads,
                compiled=settings.compile,
                learned=learned.learned,
                on_progress=_within(tell, before, total),
                should_stop=_never,
                seeds=seeds,
                make_segmenter=make_segmenter,
                on_notice=notice,
            )
            files[span.ordinal] = outcome.file
            before += span.frames_total
        assembled = assemble(
            inputs,
            plan,
            span_files=files,
            out=out,
            report=report,
            device=place,
            began=began,
            learning_seconds=learned.seconds,
            notices=notices,
        )
        for told in assembled.report["notices"]:
            notice(told)
    return assembled.report


def used_device(engine: str, device: str) -> str:
    """The device that `engine` will run on when `device` is asked for: "cpu", "cuda" or "cuda:N".

    Raises InputError when `device` is no device's name.
    """
    if "cuda" not in engines.resolve(engine).devices:
        require_device(device)
        return "cpu"
    return own_device(device)


def own_device(device: str) -> str:
    """What `device` means on this machine: "cpu" where there is no GPU, else "cuda" or "cuda:N".

    Raises InputError when `device` is no device's name.
    """
    require_device(device)
    if device == "cpu" or not _has_cuda():
        return "cpu"
    return "cuda" if device == "auto" else device


def require_device(device: str) -> None:
    """Raise InputError when `device` is no device's name."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
        raise InputError(f'There is no device "{device}": use auto, cpu or cuda:N, such as cuda:0.')


def _has_cuda() -> bool:
    import torch  # here, since it takes seconds to load

    return bool(torch.cuda.is_available())


def _within(
    tell: Callable[[int, int], None], before: int, total: int
) -> Callable[[int, int], None]:
    """Turn the progress of a span into that of the run."""
    return lambda done, _: tell(before + done, total)


def _nobody(done: int, total: int) -> None:
    """Hear of progress and do nothing."""


def _never() -> bool:
    return False
