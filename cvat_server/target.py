"""What is pulled and pushed: a job or a task of the server, by its number."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvat_io.model import ExportKind, Meta
from errors import InputError, one_line

_NAME = re.compile(r"(?:(job|task)-)?([1-9][0-9]{0,14})")


@dataclass(frozen=True, slots=True)
class Target:
    """A job or a task; `str` is how people call it."""

    kind: ExportKind
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    @property
    def stem(self) -> str:
        """The name of its archives: a job's is its number, as CVAT's own archives are named."""
        return str(self.number) if self.kind is ExportKind.JOB else f"task-{self.number}"


def read_target(name: str) -> Target:
    """What `264` (or `job-264`) and `task-12` mean; InputError for anything else."""
    found = _NAME.fullmatch(name.strip())
    if found is None:
        raise InputError(
            f'"{one_line(name, 40)}" is neither a job nor a task: give a job\'s number, such as '
            "264, or a task's, such as task-12."
        )
    return Target(ExportKind(found[1] or "job"), int(found[2]))


def target_of(meta: Meta, where: str) -> Target:
    """The job or task that an archive's head names; InputError where it names none."""
    if not _NAME.fullmatch(meta.id):
        raise InputError(
            f"{where} does not say which {meta.kind} it is of: import it in CVAT by hand."
        )
    return Target(meta.kind, int(meta.id))
