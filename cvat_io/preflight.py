"""Before a result is imported: what CVAT's importer "CVAT 1.1" will do with it, in words.

The importer reads a bare XML file, or every *.xml of a zip, in whatever folder, one after another;
files and folders whose names begin with a dot are hidden from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from config import Limits
from cvat_io.archive import Archive
from cvat_io.forecast import Example, Fate, Forecast, Rule
from cvat_io.importer import Importer
from cvat_io.model import ExportKind, Meta
from cvat_io.reader import open_archive, open_export, read_meta
from cvat_io.xmlstream import Source
from errors import InputError, one_line

_SHOWN = 20  # labels, and kinds of shapes
_OF_AN_EXPORT = re.compile(r"[:;] (?:export|fetch) [^:;]*\bCVAT\b[^:;]*\.$")
_AGAIN = (
    "fetch the result again where it was made (`relay result JOB --out F`, or its page), or run "
    "the job again"
)


def foresee(result: Path, export: Path | None, limits: Limits) -> tuple[Meta, Forecast]:
    """Read `result` as CVAT's importer would, for the job that `export` is of.

    Without an export the job is what the file's own head says. Returns the job and what will
    become of the file. Raises InputError where not even that can be said: for what is no archive
    and no XML, for XML that breaks off, and where nobody knows the job.
    """
    # Masks of still scenes pack better than a stranger's file may; it is streamed, and bounded.
    streamed = replace(limits, archive_ratio=2**31)
    forecast = Forecast()
    with ExitStack() as stack:
        with _as_of_a_result():
            archive = open_archive(result, streamed)
            if archive is not None:
                stack.enter_context(archive)
            names = _names(archive, result, forecast)
            head = _head(archive, names, result, required=export is None)
        if export is None:
            assert head is not None
            job = head
        else:
            with open_export(export, limits) as opened:
                job = opened.meta
            if head is not None:
                forecast.notices += _other_job(head, job)
        importer = Importer(job, forecast)
        with _as_of_a_result():
            for name in names:
                importer.read(_source(archive, name, result), name)
    return job, forecast


@contextmanager
def _as_of_a_result() -> Iterator[None]:
    """Give the advice of whoever reads a file for a result: that one does not come from CVAT."""
    try:
        yield
    except InputError as exc:
        sentence, changed = _OF_AN_EXPORT.subn(f": {_AGAIN}.", str(exc))
        if not changed:
            raise
        raise InputError(sentence) from exc


def describe_forecast(job: Meta, forecast: Forecast) -> Iterator[str]:
    """Yield lines that say what becomes of a result, most important first."""
    frames = job.frames
    step = f", step {job.step}" if job.step > 1 else ""
    yield (
        f"Import into {job.kind.value} {one_line(job.id, 40)}: frames {frames.start} to "
        f"{job.stop_frame}{step}, {sum(each.parent is None for each in job.labels)} labels"
    )
    refused = forecast.count(Fate.REFUSED)
    word = "Would keep" if refused else "Kept"
    masks, spoiled = sum(forecast.masks.values()), forecast.count(Fate.SPOILED)
    yield f"{word:<10} {masks:7} masks on {forecast.frames} frames"
    for label, count in sorted(forecast.masks.items())[:_SHOWN]:
        yield f"{'':10} {count:7}   {one_line(label, 80)}"
    for kind, count in sorted(forecast.tracks.items()):
        yield f"{word:<10} {count:7} tracks, first shape: {kind}"
    for kind, count in sorted(forecast.shapes.items()):
        yield f"{word:<10} {count:7} shapes: {kind}"
    yield f"Dropped    {forecast.count(Fate.DROPPED):7}"
    yield f"Spoiled    {spoiled:7} (stored, but not as it is meant)"
    yield f"Refused    {refused:7}" + (" (one is enough: nothing is stored)" if refused else "")
    for fate in Fate:
        for rule in Rule:
            if rule.fate is fate and rule in forecast.struck:
                struck = forecast.struck[rule]
                times = "once" if struck.count == 1 else f"{struck.count} times"
                yield f"{fate.capitalize()}, {times}: {rule.why}"
                if fate is not Fate.NOTED:
                    yield from (f"  {_place(each)}" for each in struck.examples)
                    if struck.count > len(struck.examples):
                        yield f"  and {struck.count - len(struck.examples)} more"
    for notice in forecast.notices:
        yield f"Note: {one_line(notice)}"


def require_taken(result: Path, forecast: Forecast) -> None:
    """Raise InputError with the first reason when CVAT would refuse the whole import."""
    for rule, struck in forecast.struck.items():
        if rule.fate is Fate.REFUSED:
            more = forecast.count(Fate.REFUSED) - 1
            behind = f" (and {more} more)" if more else ""
            raise InputError(
                f"CVAT would refuse the whole import of {one_line(result.name, 80)}: {rule.why}, "
                f"{_place(struck.examples[0])}{behind}; mend the file, or make the result again "
                "from a new export of this job."
            )


def _place(example: Example) -> str:
    parts = [
        f"frame {one_line(example.frame)}" if example.frame else "",
        f"label {one_line(example.label)}" if example.label else "",
        f"track {one_line(example.track)}",
        one_line(example.detail),
    ]
    return ", ".join(part for part in parts if part)


def _names(archive: Archive | None, result: Path, forecast: Forecast) -> list[str]:
    if archive is None:
        return [result.name]
    found = [name for name in archive.entries if name.endswith(".xml")]
    names = [name for name in found if not _hidden(name)]
    if not names:
        raise InputError(
            f"{result.name} holds no .xml file that CVAT would read: CVAT imports nothing of it; "
            "give the archive that Mask Relay wrote."
        )
    if len(names) < len(found):
        forecast.notices.append(
            f"{len(found) - len(names)} .xml files have names that begin with a dot: CVAT does not "
            "read them."
        )
    if len(names) > 1:
        forecast.notices.append(
            f"The archive holds {len(names)} .xml files: CVAT imports all of them, one upon "
            "another."
        )
    return names


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _source(archive: Archive | None, name: str, result: Path) -> Source:
    return result.open("rb") if archive is None else archive.open(name)


def _head(
    archive: Archive | None, names: list[str], result: Path, *, required: bool
) -> Meta | None:
    """The first head among the files; CVAT itself never looks at it."""
    for name in names:
        try:
            meta = read_meta(_source(archive, name, result), name, images_too=True)
        except InputError:
            if required:
                raise
            continue
        if meta is not None:
            return meta
    if required:
        raise InputError(
            f"{result.name} has no head (<meta>), so that labels and frames of the job are not "
            "known: give the job's export with --export."
        )
    return None


def _other_job(head: Meta, job: Meta) -> Iterator[str]:
    if head.kind is ExportKind.JOB and job.kind is ExportKind.TASK:
        yield (
            f"The file is of job {one_line(head.id, 40)}, the export of a whole task: an import "
            "into the task replaces what all its jobs hold."
        )
    elif (head.kind, head.id) != (job.kind, job.id):
        yield (
            f"The file says that it is of {head.kind.value} {one_line(head.id, 40)}, the export "
            f"is of {job.kind.value} {one_line(job.id, 40)}."
        )
