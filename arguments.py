"""The command line of `relay`: verbs, options and the help that explains them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from arguments_of_runs import add_run_options, whole
from config import MOST_THREADS
from cvat_io.forms import MOST_MEGABYTES, MOST_TOLERANCE, TOLERANCE, Form
from errors import InputError, one_line
from jobs.options import Priority
from jobs.views import Role

MOST_SECONDS = 86_400
MOST_LINES = 1_000_000  # of the audit, at once


class UsageParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence instead of a dump of the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print; `message` is argparse's own wording."""
        verb = self.prog
        raise InputError(f"{message[:1].upper()}{message[1:]}; see `{verb} --help`.")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; a test holds docs/reference/cli.md to it."""
    parser = UsageParser(
        prog="relay",
        description="Annotate one frame in CVAT, relay the mask through the rest of the video.",
        epilog="First steps: `relay check EXPORT.zip`, then `relay track EXPORT.zip --out R.zip`, "
        "then import R.zip into the same CVAT job as 'CVAT 1.1'.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, dest="verb")

    track = verbs.add_parser(
        "track",
        help="fill the frames of an export here and now (no server, broker or database)",
        description="Reads a 'CVAT for video 1.1' export, carries the masks of its key frames "
        "through all other frames and writes an archive that CVAT imports as 'CVAT 1.1'.",
        epilog="Example: relay track 264.zip --out 264_result.zip --report report.json",
    )
    track.add_argument("export", type=Path, metavar="EXPORT.zip", help="what CVAT exported")
    track.add_argument("--out", type=Path, required=True, metavar="RESULT.zip", help="to write")
    _add_archives(track)
    track.add_argument(
        "--report", type=Path, metavar="REPORT.json", help="write speed and divergence there"
    )
    track.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")
    _add_threads(track)
    add_run_options(track)

    check = verbs.add_parser(
        "check",
        help="say what an export holds, what a run would compute and about how long, or what CVAT "
        "will do with a result; writes nothing",
        epilog="Examples: relay check 264.zip --mode resegment --previous 264_result.zip, or relay "
        "check --result 264_result.zip --export 264.zip",
    )
    check.add_argument(
        "export", type=Path, nargs="?", metavar="EXPORT.zip", help="what CVAT exported"
    )
    check.add_argument(
        "--result",
        type=Path,
        metavar="RESULT.zip",
        help="say what CVAT will keep, drop or refuse of this archive (or .xml) as 'CVAT 1.1'",
    )
    check.add_argument(
        "--export",
        type=Path,
        dest="export_for",
        metavar="EXPORT.zip",
        help="of the job that the result is for (default: what the result itself says of its job)",
    )
    _add_archives(check)
    check.add_argument(
        "--report",
        type=Path,
        metavar="REPORT.json",
        help="of an earlier run, whose speed tells how long this one takes",
    )
    add_run_options(check)

    serve = verbs.add_parser("serve", help="start the web dashboard and API")
    serve.add_argument("--host", help="address to listen on (default: HOST, else 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (default: PORT, else 5000)")
    serve.add_argument(
        "--async-mode",
        choices=("threading", "eventlet", "gevent"),
        default="threading",
        help="how the web process waits for many clients (default: threading)",
    )

    worker = verbs.add_parser("worker", help="start a worker that computes queued spans")
    worker.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")
    _add_threads(worker)
    worker.add_argument("--name", default="", help="a name for the dashboard (default: the host's)")

    submit = verbs.add_parser(
        "submit", help="queue an export for the workers and print the job's id"
    )
    submit.add_argument("export", type=Path, metavar="EXPORT.zip", help="what CVAT exported")
    submit.add_argument(
        "--wait", action="store_true", help="return when the result is published (or failed)"
    )
    submit.add_argument(
        "--again",
        action="store_true",
        help="also where the latest run on this very export, with these options, is done",
    )
    submit.add_argument(
        "--reuse-previous",
        action="store_true",
        help="take from the job's previous result what the export lacks",
    )
    submit.add_argument(
        "--parallel-spans",
        type=int,
        default=0,
        metavar="N",
        help="compute at most N spans at once (default: as many as there are workers)",
    )
    submit.add_argument(
        "--priority",
        choices=tuple(Priority),
        default=Priority.NORMAL,
        help="which run is served first when workers are scarce (default: normal)",
    )
    add_run_options(submit)

    for verb, text in (
        ("cancel", "stop a job's run at the frame at hand; finished frames are kept"),
        ("pause", "hold a job's run; finished frames are kept, and workers turn to others"),
        ("resume", "go on with a paused run"),
        ("retry", "go on with a run that failed or was cancelled"),
    ):
        acts = verbs.add_parser(verb, help=text)
        acts.add_argument("job", metavar="JOB", help="the job's id, as `relay jobs` lists it")

    verbs.add_parser("jobs", help="list the jobs and where they stand")

    result = verbs.add_parser("result", help="fetch the result of a job")
    result.add_argument("job", metavar="JOB", help="the job's id, as `relay jobs` lists it")
    result.add_argument("--out", type=Path, required=True, metavar="F", help="file to write")

    export = verbs.add_parser(
        "export",
        help="write a result as COCO, mask images, polygons or a video, or in several parts",
        epilog="Examples: relay export R.zip --format polygons --tolerance 1 --out P.zip, or relay "
        "export R.zip --images 264.zip --format coco --out C.zip",
    )
    export.add_argument("result", type=Path, metavar="RESULT.zip", help="what we wrote for CVAT")
    export.add_argument(
        "--images",
        type=Path,
        metavar="EXPORT.zip",
        help="the export with images, which coco, masks and overlay need",
    )
    export.add_argument(
        "--format",
        choices=tuple(str(form) for form in Form),
        required=True,
        metavar="FORMAT",
        help="coco, masks, polygons, overlay, or cvat in parts",
    )
    export.add_argument(
        "--tolerance",
        type=_pixels,
        metavar="PIXELS",
        help="polygons: how far one may lie beside the border of its mask, 0 for to the pixel "
        f"(default: {TOLERANCE:g})",
    )
    export.add_argument(
        "--shard-mb",
        type=whole(MOST_MEGABYTES, least=1),
        metavar="N",
        help="cvat: parts of at most N MB of annotations, each a whole archive",
    )
    export.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help=".zip (coco, polygons), .zip or a new folder (masks), .mp4 (overlay), a new folder "
        "(cvat)",
    )

    _add_cvat(verbs)

    models = verbs.add_parser(
        "models",
        help="list the engines and what would run here, or get the weights of one",
        description="Lists the engines: what they do, whether their weights are here, what they "
        "would run on, and what they are best for. `get NAME` downloads weights into MODEL_DIR.",
        epilog="Example: relay models get deaot-r50-l",
    )
    models.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    models.add_argument("name", nargs="?", metavar="NAME", help="whose weights to get")

    token = verbs.add_parser(
        "token",
        help="make, list or revoke keys of single persons and programs",
        epilog="Example: relay token add anna --role annotator",
    )
    token.add_argument("action", choices=("add", "list", "revoke"))
    token.add_argument("name", nargs="?", metavar="NAME", help="whose token")
    token.add_argument(
        "--role",
        choices=tuple(str(role) for role in Role),
        help="viewer: reads; annotator: also uploads, starts and stops runs; admin: also deletes",
    )

    audit = verbs.add_parser("audit", help="print who did what, oldest first")
    audit.add_argument(
        "--last",
        type=whole(MOST_LINES),
        default=50,
        metavar="N",
        help="only the latest N actions (default: 50)",
    )
    return parser


def _add_cvat(verbs: argparse._SubParsersAction[UsageParser]) -> None:
    pull = verbs.add_parser(
        "pull",
        help="fetch the export of a job or task from the CVAT server of CVAT_URL",
        description="Lets CVAT make a 'CVAT for video 1.1' export with images and fetches it into "
        "DOWNLOADS_PATH, where the server takes it up. Goes on where an earlier try broke off.",
        epilog="Example: relay pull 264, or relay pull --watch",
    )
    pull.add_argument("target", nargs="?", metavar="JOB|TASK", help="such as 264, or task-12")
    pull.add_argument("--out", type=Path, metavar="F", help="file to write (default: see above)")
    pull.add_argument(
        "--no-images", action="store_true", help="annotations alone, as for a re-segmentation"
    )
    pull.add_argument(
        "--unfinished",
        action="store_true",
        help="pull also while a push of ours is unfinished, with the part of its result that is "
        "there",
    )
    pull.add_argument(
        "--watch",
        action="store_true",
        help="pull all jobs in --state by themselves, whenever they change, until stopped",
    )
    pull.add_argument(
        "--state",
        choices=("new", "in progress", "completed", "rejected"),
        default="completed",
        help="with --watch: of which jobs (default: completed)",
    )
    pull.add_argument(
        "--stage",
        choices=("annotation", "validation", "acceptance"),
        help="with --watch: of which jobs (default: any)",
    )
    pull.add_argument(
        "--every",
        type=whole(MOST_SECONDS, least=1),
        default=60,
        metavar="SECONDS",
        help="with --watch: how often to look (default: 60)",
    )

    push = verbs.add_parser(
        "push",
        help="put a result into its job or task on the CVAT server of CVAT_URL",
        description="Adds the masks that the job lacks. Refuses where somebody changed the job "
        "since it was pulled, and their work would be replaced.",
        epilog="Example: relay push 264_result.zip --job 264",
    )
    push.add_argument("result", type=Path, metavar="RESULT.zip", help="what we wrote for CVAT")
    which = push.add_mutually_exclusive_group()
    which.add_argument("--job", metavar="N", help="refuse a result that is of another job")
    which.add_argument("--task", metavar="N", help="refuse a result that is of another task")
    push.add_argument(
        "--replace",
        action="store_true",
        help="put the result in the place of whatever is there, others' work included",
    )


def _add_archives(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--previous",
        type=Path,
        metavar="RESULT.zip",
        help="our last result of this job, for --mode resegment",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="EXPORT.zip",
        help="an earlier export of this job that holds the images, where this one has none",
    )


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=whole(MOST_THREADS),
        metavar="N",
        help="CPU threads to keep busy, 0 for all cores (default: THREADS, else 0)",
    )


def _pixels(text: str) -> float:
    """A number of pixels, such as a polygon's tolerance."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_TOLERANCE:
        raise argparse.ArgumentTypeError(
            f"{one_line(text, 40)!r} cannot be used: give a number from 0 to {MOST_TOLERANCE:g}"
        )
    return value
