"""Several clips on one network: what is asked for at the same moment is computed as one batch.

Each clip is followed in a thread of its own. Who asks for a frame stands in line; whoever is first
computes for all that stand there with frames of the same size. Nobody registers and nobody signs
off: a clip that ended, failed or was stopped just does not come back, and is given up `PATIENCE`
after it was due.

Without waiting, two clips would take turns for ever: whoever is done finds the other computing.
Once they have met they stay together, since both get their answers at the same moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from tracker.propagators.deaot.tracker import Tracker, carry, look, update

PATIENCE = 0.004  # seconds that a frame waits at least for one that is due, or a little late

_FORGOTTEN = 60.0  # seconds after which a thread that asked for nothing is another one


@dataclass(slots=True, eq=False)
class Clip:
    """A frame that one clip asks for. What is done is None, so that after an error the rest can be.

    `labels`: what was decided for the frame before, float (H, W) at the network's size, None when
    that is remembered already. `image`: float (1, 3, H, W).
    """

    tracker: Tracker
    image: Tensor | None
    labels: Tensor | None


def advance(clips: Sequence[Clip]) -> list[list[Tensor]]:
    """Remember the last frame, look at the next and carry to it: logits of each clip's groups."""
    decided = [(clip, clip.labels) for clip in clips if clip.labels is not None]
    if decided:
        update([clip.tracker for clip, _ in decided], [labels for _, labels in decided])
        for clip, _ in decided:
            clip.labels = None
    unseen = [(clip, clip.image) for clip in clips if clip.image is not None]
    if unseen:
        look([clip.tracker for clip, _ in unseen], torch.cat([image for _, image in unseen]))
        for clip, _ in unseen:
            clip.image = None
    return carry([clip.tracker for clip in clips])


class Gauge(Protocol):
    """Tells of a device's memory, in bytes."""

    def free(self) -> int:
        """What this process may still take."""
        ...

    def begin(self) -> None:
        """Measure from here."""
        ...

    def taken(self) -> int:
        """The most that was taken besides since `begin`."""
        ...


class CudaGauge:
    """The memory of a graphics card."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def free(self) -> int:
        """What nobody has, and what PyTorch keeps for this process."""
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(torch.cuda.mem_get_info(self._device)[0]) + kept

    def begin(self) -> None:
        """See `Gauge`."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def taken(self) -> int:
        """See `Gauge`."""
        return torch.cuda.max_memory_allocated(self._device) - self._before


@dataclass(slots=True, eq=False)
class _Ticket:
    """A place in the line. `clip`: None for work that nobody shares."""

    clip: Clip | None
    alike: Hashable = None
    most: int = 1
    thread: int = field(default_factory=threading.get_ident)
    done: bool = False
    crowded: bool = False
    logits: list[Tensor] | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Habit:
    """How soon a thread comes back: `away` seconds after it was `answered`, the last time."""

    alike: Hashable
    answered: float
    away: float = 0.0


class Batcher:
    """The line in front of one network on one device. Only who is first in it uses the network."""

    def __init__(self, gauge: Gauge | None = None, *, worth: float = 0.0) -> None:
        """`gauge`: of the device's memory, None where it bounds nothing.

        `worth`: how long a frame may wait for those of other clips that are due, as a share of what
        computing it takes: no longer than a batch would save.
        """
        self._gauge = gauge
        self._worth = worth
        self._takes: dict[Hashable, float] = {}  # seconds that a frame took, the last time
        self._moved = threading.Condition()
        self._line: list[_Ticket] = []
        self._busy = False
        self._habits: dict[int, _Habit] = {}
        self._needs: dict[Hashable, int] = {}  # bytes that a clip needs to be carried on
        self.sizes: dict[int, int] = {}  # how many batches there were of each number of clips

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use the network alone for the time of the block."""
        ticket = _Ticket(None)
        self._stand(ticket)
        try:
            yield
        finally:
            with self._moved:
                self._busy = False
                self._moved.notify_all()

    def advance(self, clip: Clip, *, alike: Hashable, most: int) -> tuple[list[Tensor], bool]:
        """Do what `advance` does, with other clips where they are `alike`.

        `alike`: what must be equal, such as the frames' size and the numbers that are computed
        with. `most`: clips in a batch. Returns the logits of each group, and whether the device's
        memory was too small for the batch, so that clips were computed one by one after all.

        Call it within the contexts (inference, autocast) that all clips that are alike have. Raises
        what computing this clip alone raises.
        """
        ticket = _Ticket(clip, alike, most)
        self._stand(ticket)
        if not ticket.done:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.logits is not None
        return ticket.logits, ticket.crowded

    def _stand(self, ticket: _Ticket) -> None:
        """Wait in line until it is this ticket's turn, or somebody has computed it."""
        with self._moved:
            habit = self._habits.get(ticket.thread)
            if habit is not None:
                habit.away = time.monotonic() - habit.answered
            self._line.append(ticket)
            self._moved.notify_all()
            try:
                self._moved.wait_for(
                    lambda: ticket.done or (not self._busy and self._line[:1] == [ticket])
                )
            except BaseException:
                if ticket in self._line:
                    self._line.remove(ticket)
                    self._moved.notify_all()
                raise
            if not ticket.done:
                self._busy = True
                if ticket.clip is None:
                    self._line.remove(ticket)

    def _lead(self, first: _Ticket) -> None:
        """Compute what `first` and those like it ask for."""
        batch = [first]
        try:
            batch = self._gather(first)
            self._compute(batch)
        finally:
            with self._moved:
                if first in self._line:  # it did not come to a batch
                    self._line.remove(first)
                self._answer(batch, first)
                self._busy = False
                self._moved.notify_all()

    def _answer(self, batch: list[_Ticket], first: _Ticket) -> None:
        """Free whose frames are computed; where something ended this thread, another one leads."""
        now = time.monotonic()
        for ticket in batch:
            ticket.done = ticket.logits is not None or ticket.error is not None
            if ticket.done:
                habit = self._habits.setdefault(ticket.thread, _Habit(ticket.alike, now))
                habit.alike, habit.answered = ticket.alike, now
            elif ticket is not first:
                self._line.insert(0, ticket)
        for thread in [t for t, h in self._habits.items() if now - h.answered > _FORGOTTEN]:
            del self._habits[thread]

    def _gather(self, first: _Ticket) -> list[_Ticket]:
        """Take out of the line who is computed with `first`, and wait a little for who may come."""
        most = self._room(first)
        with self._moved:
            patience = max(PATIENCE, self._worth * self._takes.get(first.alike, 0.0))
            longest = time.monotonic() + patience
            while True:
                batch = [first] + [
                    ticket
                    for ticket in self._line
                    if ticket is not first and ticket.alike == first.alike and ticket.most > 1
                ]
                left = self._awaited(first, longest) - time.monotonic()
                if len(batch) >= most or left <= 0:
                    break
                self._moved.wait(left)
            batch = batch[:most]
            for ticket in batch:
                self._line.remove(ticket)
        return batch

    def _awaited(self, first: _Ticket, longest: float) -> float:
        """Until when clips like `first` come that are not in line, if they do as the last time."""
        here = {ticket.thread for ticket in self._line}
        due = [
            habit.answered + habit.away
            for thread, habit in self._habits.items()
            if thread not in here and habit.alike == first.alike
        ]
        return min(longest, max((at for at in due if at <= longest), default=0.0) + PATIENCE)

    def _room(self, first: _Ticket) -> int:
        """How many clips may be computed at once. The first step of a kind shows what one needs."""
        if self._gauge is None or first.most == 1:
            return first.most
        need = self._needs.get(first.alike)
        return 1 if need is None else max(1, min(first.most, self._gauge.free() // max(need, 1)))

    def _compute(self, batch: list[_Ticket]) -> None:
        """Compute a batch; where that fails, each of its clips alone."""
        if len(batch) > 1 and self._try(batch):
            return
        for ticket in batch:
            try:
                self._try_once([ticket])
            except Exception as exc:  # noqa: BLE001 - of one clip only, and it hears of it
                ticket.error = exc

    def _try(self, batch: list[_Ticket]) -> bool:
        try:
            self._try_once(batch)
        except torch.OutOfMemoryError:
            crowded = True
        except Exception:  # noqa: BLE001 - whose fault it is shows when each is computed alone
            crowded = False
        else:
            return True
        # Not before the error is gone, which holds on to what had been computed.
        if crowded:
            for ticket in batch:
                ticket.crowded = True
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return False

    def _try_once(self, batch: list[_Ticket]) -> None:
        began = time.monotonic()
        clips = [ticket.clip for ticket in batch if ticket.clip is not None]
        measured = self._gauge if batch[0].most > 1 else None
        if measured is not None:
            measured.begin()
        found = advance(clips)
        if measured is not None:
            need = measured.taken() // len(batch)
            self._needs[batch[0].alike] = max(need, self._needs.get(batch[0].alike, 0))
        self._takes[batch[0].alike] = (time.monotonic() - began) / len(batch)
        self.sizes[len(batch)] = self.sizes.get(len(batch), 0) + 1
        for ticket, logits in zip(batch, found, strict=True):
            ticket.logits = logits
