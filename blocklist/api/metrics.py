"""Figures for Prometheus: `/metrics`, without a token and without names of subscribers.

With several workers each writes its counts into files of a common directory, and whoever is asked
adds them up; those of a worker that has ended stay. What all workers see alike, such as the version
of the head, is not added up but told by the one that is asked.
"""

import os
from collections.abc import Iterator

from flask import Flask, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from blocklist.api.headers import NO_STORE
from blocklist.api.live import NotServable
from blocklist.api.reader import FeedReader
from blocklist.core.entries import Feed
from blocklist.store.shared import SharedState

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # as prometheus_client has it
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        own = self._own = CollectorRegistry()
        self._requests = Counter(
            "blocklist_requests", "Requests answered.", ("route", "method", "status"), registry=own
        )
        self._seconds = Histogram(
            "blocklist_request_seconds", "Time to an answer, without the time that a poll waited.",
            ("route",), buckets=_SECONDS, registry=own,
        )  # fmt: skip
        self._waiting = Gauge(
            "blocklist_waiting_polls", "Requests held until there is news.",
            registry=own, multiprocess_mode="livesum",
        )  # fmt: skip
        self._limited = Counter(
            "blocklist_rate_limited", "Requests refused with 429.", registry=own
        )
        self._storage = Counter(
            "blocklist_storage_errors", "Reads of the storage that failed.", registry=own
        )
        self._diffs = Counter(
            "blocklist_diffs", "Diffs, by whether they had to be computed.", ("how",), registry=own
        )
        self._told = {"computed": 0, "cached": 0}
        self._leader = Gauge(
            "blocklist_leader", "Whether a process here watches the head for all.",
            registry=own, multiprocess_mode="livesum",
        )  # fmt: skip

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request by its route's pattern."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status == 429:
            self._limited.inc()

    def waiting(self, more: int) -> None:
        """Count who begins (1) and ceases (-1) to wait."""
        self._waiting.inc(more)

    def storage_error(self) -> None:
        """Count a failed read of the storage."""
        self._storage.inc()

    def diffs(self, **totals: int) -> None:
        """Count diffs, `computed` and `cached`, given how many there were since the start."""
        for how, total in totals.items():
            self._diffs.labels(how).inc(total - self._told[how])
            self._told[how] = total

    def leads(self, leader: bool) -> None:
        """Say whether this process watches the head for all."""
        self._leader.set(int(leader))

    def exposition(self, *seen: Collector) -> bytes:
        """Return everything that is counted, in all processes, and what `seen` adds."""
        registry = self._own
        if DIRECTORY_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # so in the library
        parts = CollectorRegistry()
        for part in seen:
            parts.register(part)
        return generate_latest(registry) + generate_latest(parts)


class Seen(Collector):
    """What this process sees of the repository and of Redis.

    Args:
        reader: The repository.
        shared: Redis, if it is used.
    """

    def __init__(self, reader: FeedReader, shared: SharedState | None) -> None:
        self._reader = reader
        self._shared = shared

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; those of a head that was never verified are missing."""
        yield _gauge("blocklist_ready", "Whether the head can be served.", self._reader.ready())
        if self._shared is not None:
            yield _gauge("blocklist_redis_up", "Whether Redis answers.", self._shared.up())
        try:
            live = self._reader.live()
        except NotServable:
            return
        version = GaugeMetricFamily("blocklist_head_version", "Version, by role.", labels=["role"])
        expiry = GaugeMetricFamily(
            "blocklist_head_expiry_timestamp_seconds", "End of life, by role.", labels=["role"]
        )
        for role in (live.head.root, live.head.targets, live.head.snapshot, live.head.timestamp):
            version.add_metric([role.name], role.version)
            expiry.add_metric([role.name], role.signed.expires.timestamp())
        yield from (version, expiry, *self._lists())

    def _lists(self) -> Iterator[GaugeMetricFamily]:
        live = self._reader.live()
        by_list = ["list"]
        version = GaugeMetricFamily("blocklist_list_version", "Live version.", labels=by_list)
        expiry = GaugeMetricFamily(
            "blocklist_list_expiry_timestamp_seconds", "End of life.", labels=by_list
        )
        entries = GaugeMetricFamily(
            "blocklist_list_entries", "Entries of the live version.", labels=by_list
        )
        servable = GaugeMetricFamily(
            "blocklist_list_servable", "Whether the live version verifies.", labels=by_list
        )
        for name, role in live.roles.items():
            version.add_metric([name], role.version)
            expiry.add_metric([name], role.signed.expires.timestamp())
            servable.add_metric([name], 1)
        for (name, feed), release in live.releases.items():
            if feed is Feed.CLEAR:
                entries.add_metric([name], release.facts.entries)
        for name in live.refused:
            servable.add_metric([name], 0)
        yield from (version, expiry, entries, servable)


class MetricsRoutes:
    """The route, on one app's figures.

    Args:
        metrics: What is counted.
        seen: What is seen.
    """

    def __init__(self, metrics: Metrics, seen: Seen) -> None:
        self._metrics = metrics
        self._seen = seen

    def register(self, app: Flask) -> None:
        """Add the route."""
        app.add_url_rule("/metrics", "metrics", self.metrics)

    def metrics(self) -> Response:
        """Answer with all figures in Prometheus' text format."""
        answer = Response(self._metrics.exposition(self._seen), content_type=CONTENT_TYPE_LATEST)
        answer.headers["Cache-Control"] = NO_STORE
        return answer


def _gauge(name: str, what: str, value: bool) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=int(value))
