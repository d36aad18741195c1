"""Hearing signals at once, whatever the main thread is waiting for."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Collection


def hear(numbers: Collection[int], act: Callable[[], None]) -> None:
    """Call `act`, in a thread of its own, whenever one of the signals `numbers` comes.

    Python runs the handler of a signal in the main thread, and only between two of its steps. Where
    that thread is about to wait for a message (or for its turn beside a busy thread, just before),
    the system call is not interrupted, and the handler runs when a message happens to come: a
    worker that is told to stop would go on for seconds. The byte that Python writes to the wake-up
    socket does not wait for anybody.

    Each of the signals must have a handler of Python's besides, even one that does nothing. Call it
    in the main thread, once in a process.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen() -> None:
        with receiver, sender:
            while True:
                if any(number in numbers for number in receiver.recv(64)):
                    act()

    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=listen, name="signals", daemon=True).start()
