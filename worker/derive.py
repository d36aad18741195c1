"""What a worker makes of a result once it is published, so that the first to look need not wait.

All of it is for looking at. What goes wrong here is logged, and the run is as done as without.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from errors import InputError
from jobs.derived import Derived
from jobs.files import JobFiles
from jobs.layer_build import LayerSource, build_layer
from jobs.layers import pass_path, run_name
from jobs.plan import RunInputs, RunPlan
from worker.leases import Lease
from worker.passes import Published, drop_passes, write_passes

_log = logging.getLogger(__name__)
PASSES = ("forward", "backward")


def derive(
    files: JobFiles,
    lease: Lease,
    inputs: RunInputs,
    plan: RunPlan,
    span_files: Mapping[int, Path],
    sha256: str,
) -> None:
    """Make the layers of the run that was just published. `sha256`: of its result."""
    place = (lease.job_id, lease.revision, lease.run_number)
    result = files.result(*place)
    run = Published(
        result=result,
        plan=plan,
        span_files=span_files,
        ignore_labels=inputs.ignore_labels,
        limits=inputs.limits,
    )
    source = LayerSource(
        annotations=result,
        report=files.report(*place),
        run=lease.run_number,
        direction=inputs.options.direction,
    )
    derived = Derived(files.data_dir)
    try:
        derived.make(
            derived.path(lease.job_id, run_name(lease.run_number, sha256[:16])),
            lambda file: build_layer(source, file, inputs.limits),
        )
        write_passes(run, {one: pass_path(files, *place, one) for one in PASSES})
    except (OSError, InputError) as exc:  # a full disk; a job that was deleted meanwhile
        _log.warning("%s: nothing to look at was made: %s", lease.doing, exc)
    except Exception:  # noqa: BLE001 - the boundary: the result is out
        _log.exception("%s: nothing to look at was made.", lease.doing)
    finally:
        drop_passes(span_files)
