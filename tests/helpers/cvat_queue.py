"""The queue of a CVAT function, as an agent asks it: requests are given out and answered."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Queue:
    """What people asked of the function, and what its agent answered.

    `answers`: by request, the last step ("complete" or "fail") and what came with it.
    """

    waiting: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    watched: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _events: queue.SimpleQueue[bytes] = field(default_factory=queue.SimpleQueue)

    def ask(self, name: str, seconds: float = 60, **params: Any) -> tuple[str, dict[str, Any]]:
        """Put a request into the queue, tell its watcher, and wait for what the agent says."""
        with self._changed:
            self.waiting.append((name, params))
        said = json.dumps({"request_category": "interactive"})
        self._events.put(f"event: newrequest\ndata: {said}\n\n".encode())
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.answers, seconds), self.answers
            return self.answers[name]

    def events(self) -> Iterator[bytes]:
        """What a watcher hears, with a sign of life twice a second."""
        yield b"retry: 1000\n\n"
        self.watched.set()
        while True:
            try:
                yield self._events.get(timeout=0.5)
            except queue.Empty:
                yield b": alive\n\n"

    def answer(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server says to an agent at `acquire`, `ID/complete`, `ID/fail`, `ID/update`."""
        self.agents.add(body["agent_id"])
        with self._changed:
            if step == "acquire":
                if body["request_category"] != "interactive" or not self.waiting:
                    return {"ar_assignment": None}
                name, params = self.waiting.pop(0)
                return {"ar_assignment": {"ar_id": name, "ar_params": params}}
            name, what = step.split("/")
            if what != "update":
                self.answers[name] = (what, body)
                self._changed.notify_all()
            return {}
