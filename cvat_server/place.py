"""Where masks are in a job or a task: frames and labels by the server's numbers and by ours."""

from __future__ import annotations

from dataclasses import dataclass

from cvat_io.model import Meta
from cvat_server.server import ServerLabel
from cvat_server.target import Target


@dataclass(frozen=True, slots=True)
class Place:
    """A job or a task. `first`: the number of its first frame in its task, 0 for a task.

    The API counts a task's frames from 0 without their step, archives count the source's.
    """

    target: Target
    labels: tuple[ServerLabel, ...]
    meta: Meta
    first: int

    @property
    def named(self) -> dict[str, ServerLabel]:
        """Its labels by their names."""
        return {label.name: label for label in self.labels}

    @property
    def numbered(self) -> dict[int, ServerLabel]:
        """Its labels by their numbers."""
        return {label.number: label for label in self.labels}

    def number_of(self, frame: int) -> int:
        """The API's number of a frame of an archive."""
        return self.first + (frame - self.meta.start_frame) // self.meta.step

    def frame_of(self, number: int) -> int:
        """The frame of an archive that the API has under this number."""
        return self.meta.start_frame + (number - self.first) * self.meta.step
