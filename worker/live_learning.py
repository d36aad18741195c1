"""An engine that learns is shown the key frames of a live session."""

from __future__ import annotations

from pathlib import Path

from cvat_io.atomic import replacing
from errors import InputError
from jobs.db import Database
from jobs.session_masks import IGNORED
from jobs.session_models import LiveSession
from jobs.session_start import FOLDER
from tracker import engines
from tracker.fits import memory_in_words
from worker.learning import KeyFrameExamples
from worker.live_beat import LiveBeat
from worker.live_desk import Desk
from worker.live_steps import Turn, state_of


class StoppedError(Exception):
    """Learning ended before its end: a person, or the worker's own end, stopped it."""


def learn(
    database: Database,
    turn: Turn,
    desk: Desk,
    row: LiveSession,
    beat: LiveBeat,
    *,
    folder: Path,
    device: str,
    threads: int,
) -> Path:
    """Let the session's engine learn from its key frames; returns the file with what it learned.

    `folder`: of the job. Raises InputError where there is no key frame with a mask, StoppedError
    where the beat says so.
    """
    with database.read() as session:
        state = state_of(session, desk)
        seeds = {
            found.frame: [each.shape for each in found.masks if each.number != IGNORED]
            for found in state.frames([key for key in state.key_frames() if key in state.there])
        }
        version = state.row.version
    frames = [frame for frame, shapes in seeds.items() if shapes]
    if not frames:
        raise InputError(
            f"The engine {row.engine} learns from key frames, and there is none with a mask: draw "
            "one, or choose the engine flow, which begins at once."
        )
    earlier = folder / row.learned if row.learned else None
    with memory_in_words(row.engine):
        learned = engines.learn(
            row.engine,
            KeyFrameExamples(desk.pictures, frames, seeds),
            device=device,
            threads=threads,
            earlier=earlier.read_bytes() if earlier is not None and earlier.is_file() else None,
            on_progress=beat.learned,
            should_stop=beat.should_stop,
        )
    if learned is None:
        raise StoppedError
    name = f"{row.revision}/{FOLDER}/learned-{row.engine}-{version}.npz"
    with replacing(folder / name) as file:
        file.write(learned)
    with turn() as session:
        now = state_of(session, desk).row
        if now.engine == row.engine:
            now.learned = name
    for old in (folder / name).parent.glob(f"learned-{row.engine}-*.npz"):
        if old.name != Path(name).name and old != earlier:  # which a step may be about to read
            old.unlink(missing_ok=True)
    return folder / name
