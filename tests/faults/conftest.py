"""Runs the scenarios of faults: several installations at once, since most of their time is waiting.

A scenario is a test function whose argument is a `House`. Those of one lane share an installation
and come one after the other, as they stand in the file; lanes run side by side, each in a thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from bench.house import House
from bench.services import Postgres, RabbitMQ
from errors import InputError

PER_KILL = 1 + 8  # frames: the one at hand, and all that may wait to be written (worker.pipeline)
_counted: list[str] = []  # what scenarios counted, shown in the end
EMBEDDED, SERVICES = "embedded", "services"
S = TypeVar("S", Postgres, RabbitMQ)


@dataclass
class Place:
    """Where a scenario happens.

    `postgres` is the lane's own; `rabbitmq` serves all lanes, whom its death should not hurt.
    """

    house: House
    tmp: Path
    postgres: Postgres | None = None
    rabbitmq: RabbitMQ | None = None

    def same(self, job_id: str, export: Path, *, again: int) -> None:
        """Assert that a run ends in the undisturbed archive, at most `again` frames redone."""
        assert self.house.complete(job_id) == self.house.undisturbed(export), "another archive"
        found = self.house.computed_again(job_id)
        self.count(f"job {job_id}: {found} frames computed again, {again} allowed")
        assert 0 <= found <= again

    def count(self, line: str) -> None:
        """Show a figure at the end of the session."""
        _counted.append(f"{SERVICES if self.rabbitmq else EMBEDDED}: {line}")


Make = Callable[[Path, RabbitMQ | None], contextlib.AbstractContextManager[Place]]


@dataclass
class Lane:
    """Scenarios that share an installation, by the names of their tests."""

    make: Make
    scenarios: dict[str, tuple[Callable[[Place], None], Future[None]]] = field(default_factory=dict)

    def run(self, folder: Path, rabbitmq: Future[RabbitMQ] | None, stop: threading.Event) -> None:
        """Make the installation and run all scenarios, each with its own outcome."""
        try:
            with self.make(folder, rabbitmq.result() if rabbitmq else None) as place:
                for number, (scenario, future) in enumerate(self.scenarios.values()):
                    if stop.is_set():
                        break
                    place.tmp = folder / str(number)
                    place.tmp.mkdir()
                    try:
                        scenario(place)
                        future.set_result(None)
                    except BaseException as exc:  # noqa: BLE001 - raised again by its test
                        future.set_exception(exc)
        except BaseException as exc:  # noqa: BLE001 - raised again by the tests that are left
            for _, future in self.scenarios.values():
                if not future.done():
                    future.set_exception(exc)


def in_lane(make: Make, *pairs: str) -> Callable[[Callable[[Place], None]], Callable[..., None]]:
    """Turn a scenario into a test for each pair, run in the lane that `make` makes."""

    def decorate(scenario: Callable[[Place], None]) -> Callable[..., None]:
        def test(
            pair: str, outcomes: Callable[[str], None], request: pytest.FixtureRequest
        ) -> None:
            outcomes(request.node.nodeid)

        test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
        marks = {EMBEDDED: (), SERVICES: (pytest.mark.rabbitmq, pytest.mark.postgres)}
        values = [pytest.param(pair, marks=marks[pair]) for pair in pairs or (EMBEDDED, SERVICES)]
        test.scenario = scenario, make  # type: ignore[attr-defined]
        return pytest.mark.parametrize("pair", values)(test)

    return decorate


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], None]]:
    """Starts the lanes of all selected tests; waits for one scenario and raises what it raised."""
    lanes: dict[tuple[Make, str], Lane] = {}
    where: dict[str, Future[None]] = {}
    for item in request.session.items:
        if not isinstance(item, pytest.Function) or not hasattr(item.obj, "scenario"):
            continue
        scenario, make = item.obj.scenario
        lane = lanes.setdefault((make, item.callspec.params["pair"]), Lane(make))
        where[item.nodeid] = Future()
        lane.scenarios[item.nodeid] = scenario, where[item.nodeid]
    stop, rabbitmq = threading.Event(), Future[RabbitMQ]()
    threads = []
    for (make, pair), lane in lanes.items():
        folder = tmp_path_factory.mktemp(f"{make.__name__}-{pair}")
        services = rabbitmq if pair == SERVICES else None
        thread = threading.Thread(target=lane.run, args=(folder, services, stop), daemon=True)
        thread.start()
        threads.append(thread)
    with contextlib.ExitStack() as stack:
        if any(pair == SERVICES for _, pair in lanes):
            try:
                rabbitmq.set_result(stack.enter_context(running(RabbitMQ)))
            except BaseException as exc:  # noqa: BLE001 - raised again by the tests
                rabbitmq.set_exception(exc)
        yield lambda nodeid: where[nodeid].result()
        stop.set()
        for thread in threads:
            thread.join()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _counted:
        terminalreporter.write_sep("-", "faults")
        for line in sorted(_counted):
            terminalreporter.write_line(line)


@contextlib.contextmanager
def running(service: type[S]) -> Iterator[S]:
    """A service of our own. Skips where it is not installed, fails where it must be."""
    try:
        made = service()
    except InputError as exc:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    with contextlib.closing(made):
        made.start()
        yield made


@contextlib.contextmanager
def installation(
    folder: Path, rabbitmq: RabbitMQ | None, data_dir: Path | None = None
) -> Iterator[Place]:
    """A house, with a PostgreSQL of its own where there is a RabbitMQ."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running(Postgres)) if rabbitmq else None
        house = House(
            folder / "house",
            database_url=postgres.url if postgres else "",
            broker_url=rabbitmq.url if rabbitmq else "",
            data_dir=data_dir,
        )
        stack.enter_context(house)
        house.jobs.start_broker()
        yield Place(house, folder, postgres, rabbitmq)
