"""A result in any form, as a file to save: /api/jobs/<id>/download."""

from __future__ import annotations

import time

from flask import Blueprint, Response, request, send_file
from werkzeug.exceptions import ClientDisconnected, Forbidden

from cvat_io.forms import MOST_MEGABYTES, MOST_TOLERANCE, Form
from errors import InputError, one_line
from jobs.downloads import Made, Wanted
from web import api
from web.context import Context, here
from web.green import has_left
from web.options import real, whole

blueprint = Blueprint("downloads", __name__, url_prefix="/api")
NOTES = "Relay-Notes"  # a header: what people should know of the file
_WORDS = {Form.CVAT: "result_parts"}  # in file names; others have the form's own
_PAUSE = 0.1  # seconds between two looks at what is being made


@blueprint.get("/jobs/<job_id>/download")
def download(job_id: str) -> Response:
    """Send a published result, of run number `run` or the newest, in the form `format`."""
    context = here()
    wanted = _wanted(job_id)
    # Also for HEAD and for what is refused below: whether there is such a result.
    context.call(context.jobs.result, job_id, wanted.run)
    if wanted.form is Form.CVAT and wanted.shard_mb is None:
        return api.result(job_id)
    newest = context.call(context.jobs.job, job_id).job.results[0]
    old = "" if wanted.run in (None, newest) else f"_run{wanted.run}"
    name = f"{job_id}_{_WORDS.get(wanted.form, wanted.form)}{old}{wanted.form.suffix}"
    kind = "video/mp4" if wanted.form is Form.OVERLAY else "application/zip"
    if request.method == "HEAD":  # nothing is made for a look
        return Response(mimetype=kind)
    if request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        raise Forbidden("A page of another address may not let this server make anything.")
    made = _made(context, wanted)
    response = send_file(made.file, mimetype=kind, as_attachment=True, download_name=name)
    response.content_length = made.bytes
    if made.notes:
        text = one_line(" ".join(made.notes), 2000)
        response.headers[NOTES] = text.encode("ascii", "backslashreplace").decode()
    return response


def _made(context: Context, wanted: Wanted) -> Made:
    """Let it be made, without a thread that waits for it where one serves many clients."""
    downloads = context.downloads
    making = context.call(downloads.begin, wanted)
    try:
        while not context.call(making.poll):
            if has_left(request.environ):  # then nobody waits, and others may have the room
                raise ClientDisconnected
            time.sleep(_PAUSE)
        made = context.call(making.take)
    finally:
        context.call(making.close)
    if wanted.form is Form.CVAT:
        context.call(context.jobs.result_downloaded, wanted.job_id, making.number)
    else:
        context.call(downloads.note, wanted, making.number, made)
    return made


def _wanted(job_id: str) -> Wanted:
    """Return what the query asks for; raises InputError that names what cannot be."""
    given = request.args.get("format", Form.CVAT.value)
    try:
        form = Form(given)
    except ValueError:
        raise InputError(
            f"format={one_line(given, 40)} is unknown: use one of {', '.join(Form)}."
        ) from None
    for name, of in (("tolerance", Form.POLYGONS), ("shard_mb", Form.CVAT)):
        if request.args.get(name) and form is not of:
            raise InputError(f"{name} is of format={of}, not of {form}: leave it out.")
    tolerance = real(request, "tolerance", 0, MOST_TOLERANCE)
    return Wanted(
        job_id=job_id,
        form=form,
        run=whole(request, "run", 0, 1, 2**31 - 1) or None,
        tolerance=tolerance,
        shard_mb=whole(request, "shard_mb", 0, 1, MOST_MEGABYTES) or None,
    )
