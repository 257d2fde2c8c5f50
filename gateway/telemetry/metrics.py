"""What operations watch, in a registry of its own, so that two gateways in one process do not meet."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from adapters.contract import Certainty

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts and durations. Labels are names of the configuration and words of the contract, never what a caller sends:
    each new value of a label costs memory for as long as the process lives.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls = Counter(
            "session_gateway_calls",
            "Calls answered to the microservices, by what they came to.",
            ("provider", "operation", "outcome", "certainty"),
            registry=self._registry,
        )
        self._exchanges = Histogram(
            "session_gateway_exchange_seconds",
            "How long one HTTP exchange with a provider took, answered or not.",
            ("provider",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._callbacks = Counter(
            "session_gateway_callbacks",
            "Callbacks answered to the providers.",
            ("provider", "path", "answer"),
            registry=self._registry,
        )
        self._streams = Gauge(
            "session_gateway_event_streams_open", "Subscribers of events connected.", registry=self._registry
        )
        # A child is looked up by the texts of its labels each time, with a lock: one lookup of our own is enough.
        self._call = cache(self._calls.labels)
        self._exchange = cache(self._exchanges.labels)
        self._callback = cache(self._callbacks.labels)

    def call(self, provider: str, operation: str, outcome: str, certainty: Certainty | None = None) -> None:
        """A call was answered: `outcome` is its outcome, or the reason of its failure with that failure's certainty."""
        self._call(provider, operation, outcome, certainty or "").inc()

    def exchange(self, provider: str, seconds: float) -> None:
        """An exchange with a provider ended."""
        self._exchange(provider).observe(seconds)

    def callback(self, provider: str, path: str, answer: str) -> None:
        """A callback was answered, on a path that the adapter declares, with 'ACCEPTED', 'CREDITED' or a fault."""
        self._callback(provider, path, answer).inc()

    @contextmanager
    def event_stream(self) -> Iterator[None]:
        """Counts a subscriber as connected while the body runs."""
        self._streams.inc()
        try:
            yield
        finally:
            self._streams.dec()

    def render(self) -> tuple[bytes, str]:
        """The exposition in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
