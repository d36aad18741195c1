"""`/metrics` for Prometheus: read from the database when asked, so that all servers tell the same.

Names follow Prometheus: base units, `_total` for what only grows. No label names a job: there would
be a new series for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import metadata

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobs.figures import Figures
from jobs.service import Jobs
from jobs.views import WorkerView
from web.context import here

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer 200 also while the database is away; then `relay_database_up` is 0 and counts lack."""
    context = here()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry()
    registry.register(_Installation(context.jobs))
    ProcessCollector(registry=registry)
    return Response(context.call(encode, registry), content_type=content_type)


class _Installation(Collector):
    """What this server knows of its installation at the moment of the scrape."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield all figures; those of the database only while it answers."""
        health = self._jobs.health()
        figures = self._jobs.figures() if health.database == "ok" else None
        yield InfoMetricFamily(
            "relay_build", "The version of Mask Relay.", {"version": metadata.version("mask-relay")}
        )
        yield _gauge("relay_database_up", "Whether the database answers.", figures is not None)
        yield _gauge("relay_broker_up", "Whether the broker answers.", health.broker == "ok")
        free = self._jobs.disk_free_bytes()
        if free is not None:
            yield _gauge("relay_disk_free_bytes", "Free space on the disk of DATA_DIR.", free)
        if figures is not None:
            yield from _work(figures)
            yield from _workers(figures)


def _work(figures: Figures) -> Iterator[Metric]:
    yield _states("relay_jobs", "Jobs by the box in which they lie.", figures.jobs)
    yield _states(
        "relay_spans",
        "Spans of runs that are not over, by state.",
        {"queued": figures.spans_queued, "leased": figures.spans_leased},
    )
    yield _gauge(
        "relay_queue_depth",
        "Queued spans of runs that are neither paused nor over.",
        figures.queue_depth,
    )
    yield HistogramMetricFamily(
        "relay_span_seconds",
        "Time from the claim of a span to its commit.",
        buckets=[
            *((str(float(limit)), count) for limit, count in figures.buckets),
            ("+Inf", figures.spans),
        ],
        sum_value=figures.span_seconds,
    )
    for name, text, value in (
        ("relay_frames", "Frames that were computed and recorded.", figures.frames),
        ("relay_span_attempts", "Claims of spans.", figures.attempts),
        ("relay_lease_expiries", "Leases that ended without a word.", figures.lease_expiries),
        ("relay_late_commits", "Commits refused since the lease was gone.", figures.late_commits),
    ):
        yield CounterMetricFamily(name, text, value)


def _workers(figures: Figures) -> Iterator[Metric]:
    yield _gauge("relay_workers", "Workers that reported lately.", figures.workers)
    seen = GaugeMetricFamily(
        "relay_worker_last_seen_timestamp_seconds",
        "When a worker reported last; one that was killed is told of for an hour.",
        labels=["worker", "host", "device"],
    )
    for worker in figures.seen:
        seen.add_metric([worker.name, worker.host, worker.device], worker.last_seen)
    yield seen
    yield _gpu(figures.seen)


def _gpu(workers: Iterable[WorkerView]) -> Metric:
    memory = GaugeMetricFamily(
        "relay_worker_gpu_memory_bytes",
        "Memory of a worker's GPU, where it has one; used: by whomever.",
        labels=["worker", "host", "kind"],
    )
    for worker in workers:
        for kind, value in (("used", worker.gpu_bytes), ("total", worker.gpu_bytes_total)):
            if value is not None:
                memory.add_metric([worker.name, worker.host, kind], value)
    return memory


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _states(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family
