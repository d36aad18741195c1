"""The JSON API under /api/. Views go out as they are; every change goes through `jobs.service`."""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Response, jsonify, request, send_file, url_for

from errors import InputError, one_line
from jobs.views import JobView
from web import words
from web.board import read_board
from web.context import here
from web.errors import DATABASE_AWAY
from web.openapi import document
from web.options import json_object, only_state, run_options, wanted, whole
from web.text import is_plain

blueprint = Blueprint("api", __name__, url_prefix="/api")
MOST_JOBS = 500  # in one answer


@blueprint.get("/jobs")
def list_jobs() -> Response:
    """Return a page of jobs, in the order that was asked for."""
    context = here()
    look = wanted(request)
    page = context.call(
        context.jobs.list_jobs,
        search=look.search,
        label=look.label,
        sort=look.sort,
        state=only_state(request),
        limit=whole(request, "limit", 50, 1, MOST_JOBS),
        offset=whole(request, "offset", 0, 0, 2**31 - 1),
    )
    return jsonify(page)


@blueprint.get("/board")
def board() -> Response:
    """Return the five boxes at once, as the dashboard shows them."""
    context = here()
    boxes = context.call(
        read_board,
        context.jobs,
        wanted(request),
        limit=whole(request, "limit", 20, 1, MOST_JOBS),
    )
    return jsonify(boxes)


@blueprint.post("/jobs")
def upload() -> Response:
    """Take an export, as the raw body or as the file of a form, and stream it to disk."""
    context = here()
    if request.mimetype == "multipart/form-data":
        file = next(iter(request.files.values()), None)
        if file is None:
            raise InputError("The form holds no file: send it as `curl -F file=@264.zip`.")
        name = request.args.get("name") or file.filename or ""
        length = file.content_length or None  # most clients leave a part's length out
        job = context.call(context.jobs.receive, _given(name), file.stream, length)
    else:
        name = _given(request.args.get("name", ""))
        length = request.content_length
        job = context.offload.consume(
            request.stream, lambda stream: context.jobs.receive(name, stream, length)
        )
    return _created(job)


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """Return one job with its revisions, runs, spans and log."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.job, job_id)))


@blueprint.delete("/jobs/<job_id>")
def delete_job(job_id: str) -> Response:
    """Forget a job with all its files here; the archive in the downloads folder stays."""
    context = here()
    context.call(context.jobs.delete_job, job_id)
    return Response(status=204)


@blueprint.post("/jobs/<job_id>/runs")
def start_run(job_id: str) -> Response:
    """Start a run with the options in the body."""
    context = here()
    options = run_options(json_object(request))
    run = context.call(context.jobs.start_run, job_id, options)
    return _with_status(jsonify(dataclasses.asdict(run)), 201)


@blueprint.post("/jobs/<job_id>/plan")
def plan(job_id: str) -> Response:
    """Say what a run with the options in the body would compute, without starting it."""
    context = here()
    options = run_options(json_object(request))
    return jsonify(dataclasses.asdict(context.call(context.jobs.plan, job_id, options)))


@blueprint.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Stop the latest run; finished frames are kept for a retry."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.cancel, job_id)))


@blueprint.post("/jobs/<job_id>/pause")
def pause(job_id: str) -> Response:
    """Hold the latest run; finished frames are kept, and workers turn to others."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.pause, job_id)))


@blueprint.post("/jobs/<job_id>/resume")
def resume(job_id: str) -> Response:
    """Go on with a paused run."""
    context = here()
    return jsonify(dataclasses.asdict(context.call(context.jobs.resume, job_id)))


@blueprint.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Run again what a failed or cancelled run left undone."""
    context = here()
    run = context.call(context.jobs.retry, job_id)
    return _with_status(jsonify(dataclasses.asdict(run)), 201)


@blueprint.get("/jobs/<job_id>/result.zip")
def result(job_id: str) -> Response:
    """Send a published result: of run number `run`, or the newest."""
    context = here()
    number = whole(request, "run", 0, 1, 2**31 - 1) or None
    path = context.call(context.jobs.result, job_id, number)
    if _is_fetched():
        context.call(context.jobs.result_downloaded, job_id, number)
    latest = number is None or number == context.call(context.jobs.job, job_id).job.results[0]
    suffix = "" if latest else f"_run{number}"
    return send_file(
        path,
        mimetype="application/zip",
        as_attachment=True,
        download_name=f"{job_id}_result{suffix}.zip",
        conditional=True,
    )


@blueprint.get("/jobs/<job_id>/report.json")
def report(job_id: str) -> Response:
    """Send the report of a published result: of run number `run`, or the newest."""
    context = here()
    number = whole(request, "run", 0, 1, 2**31 - 1) or None
    path = context.call(context.jobs.report, job_id, number)
    return send_file(path, mimetype="application/json", conditional=True)


@blueprint.get("/workers")
def workers() -> Response:
    """Return the workers that were seen lately."""
    context = here()
    seen = context.call(context.jobs.workers)
    return jsonify(workers=[dataclasses.asdict(worker) for worker in seen])


@blueprint.get("/status")
def status() -> Response:
    """Return the server's health in words; 200 even where it is not ready."""
    context = here()
    health = context.call(context.jobs.health)
    notices: tuple[str, ...] = ()
    try:
        if health.database == "ok":
            notices = context.call(context.jobs.notices)
            notices += words.waiting(context.call(context.jobs.workers))
    except DATABASE_AWAY:  # it went away between the two questions
        notices = ()
    return jsonify(dataclasses.asdict(health) | {"notices": notices})


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the description of all of this."""
    return jsonify(document())


def _is_fetched() -> bool:
    """Whether somebody fetches a result now: no foreign page's picture, no later part of it."""
    is_foreign = request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
    span = request.headers.get("Range", "bytes=0-")
    return request.method == "GET" and not is_foreign and span.startswith("bytes=0-")


def _given(name: str) -> str:
    if not name.strip():
        raise InputError("Give the archive's name: POST /api/jobs?name=264.zip")
    if not is_plain(name):
        raise InputError(
            f'The name "{one_line(name, 120)}" holds a control character: give the archive a '
            "plain name, such as 264.zip."
        )
    return name


def _created(job: JobView) -> Response:
    response = _with_status(jsonify(dataclasses.asdict(job)), 201)
    response.headers["Location"] = url_for("api.job", job_id=job.id)
    return response


def _with_status(response: Response, status: int) -> Response:
    response.status_code = status
    return response
