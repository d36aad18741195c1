"""The files of the attempts at a span, and how a later attempt takes over from an earlier one.

In the run's folder, N being the span and F the fence number of the attempt: `N.F.jsonl` holds the
final frames; for fused spans `N.F.forward.jsonl` and `N.F.backward.jsonl` hold what either pass
said, until the run's result is published. `N.F.stats.json` has the times of a complete attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from jobs.files import sync_folder
from worker.spanfile import SpanFile, copy_prefix


class Kind(StrEnum):
    """Which of an attempt's files; the value stands in the name."""

    FINAL = ""
    FORWARD = ".forward"
    BACKWARD = ".backward"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a span, with the right to write its files."""

    folder: Path
    ordinal: int
    fence: int

    def path(self, kind: Kind, fence: int | None = None) -> Path:
        """The file of `kind`, of this attempt or of that with number `fence`."""
        number = self.fence if fence is None else fence
        return self.folder / f"{self.ordinal}.{number}{kind}.jsonl"

    def take_over(self) -> dict[Kind, SpanFile]:
        """Make this attempt's files the whole lines of the attempt that came furthest.

        Attempts agree on every line that they have in common, so it does not matter whether an
        earlier one is still writing.
        """
        name = re.compile(rf"{self.ordinal}\.([0-9]+)(\.forward|\.backward)?\.jsonl")
        found = (name.fullmatch(entry.name) for entry in self.folder.iterdir())
        fences = sorted({int(m[1]) for m in found if m and int(m[1]) <= self.fence}, reverse=True)
        order = (Kind.FINAL, Kind.BACKWARD, Kind.FORWARD)
        best = max(
            fences,
            key=lambda fence: tuple(len(SpanFile(self.path(k, fence)).frames) for k in order),
            default=self.fence,
        )
        for kind in order:
            source = self.path(kind, best)
            if source.exists():
                copy_prefix(source, self.path(kind), SpanFile(source).end)
        return {kind: SpanFile(self.path(kind)) for kind in order}

    def keep(self, kind: Kind, file: SpanFile, frames: Sequence[int]) -> SpanFile:
        """Cut `file` behind the last of `frames`, to nothing when there are none."""
        path = self.path(kind)
        if path.exists():
            copy_prefix(path, path, file.end_of(frames[-1]) if frames else 0)
        return SpanFile(path)

    def complete(self, seconds: float, stages: Mapping[str, float]) -> None:
        """Note the times of an attempt that reached the end."""
        target = stats_path(self.path(Kind.FINAL))
        draft = target.with_suffix(".part")
        draft.write_text(json.dumps({"seconds": seconds, "stages": dict(stages)}))
        draft.replace(target)
        sync_folder(self.folder)


def stats_path(file: Path) -> Path:
    """Where the times of the attempt that completed span file `file` are."""
    return file.with_suffix(".stats.json")


def pass_file(file: Path, kind: Kind) -> Path:
    """Where the attempt that completed span file `file` left what one pass said."""
    return file.with_suffix(f"{kind}.jsonl")
