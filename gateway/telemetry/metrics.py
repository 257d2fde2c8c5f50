"""The gateway's metrics. Each gateway has a separate registry, so that two in one process do not collide."""

import asyncio
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum, unique

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from adapters.contract import Certainty
from gateway.telemetry.health import ExpectedSeries, Health, ReloadStatus
from gateway.telemetry.instruments import CallbackGauge, Collected, Counter, Histogram, ReadCounter, Sample
from gateway.telemetry.logs import dropped_lines
from gateway.telemetry.release import release

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_AGES = (1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0)
_OPERATIONS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

CIRCUITS = ("CLOSED", "OPEN", "HALF_OPEN")
"""The states of a circuit breaker: values of the label `state` of `circuit_breaker_state`."""

RPC_REJECTIONS = ("CALLER_UNKNOWN", "CALLER_NOT_ALLOWED", "GATEWAY_BUSY")
"""Why an RPC is rejected before it is handled: values of the label `reason` of `rpcs_rejected_total`."""

RETRY_DECISIONS = ("made", "refused")
"""Values of the label `decision` of `retries_total`."""


@unique
class CallbackRejection(StrEnum):
    """Why a connection or a request of the callback listener was rejected: values of the label `reason`."""

    NOT_AUTHENTICATED = "not_authenticated"
    PATH_UNKNOWN = "path_unknown"
    """The key was right, and the dialect has no such path or method."""
    NOT_HTTP = "not_http"
    TLS_FAILED = "tls_failed"
    TOO_SLOW = "too_slow"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    SOURCE_SHARE = "source_share"
    """It was the oldest unauthenticated connection of a source that has as many as one source may have."""
    PROVIDER_SHARE = "provider_share"
    """The provider has as many callbacks in flight as it may have; it was answered TRY_AGAIN."""
    EVICTED = "evicted"
    """An unauthenticated or idle connection was closed in favour of a new one."""


class ProviderStatus(msgspec.Struct, frozen=True):
    """The state of a provider at the moment of a scrape."""

    provider: str
    in_flight: int
    """Calls that hold a permit of the provider."""
    queued: int
    """Calls that wait for a permit."""
    circuit: str
    """One of CIRCUITS."""
    disabled: bool


class Metrics:
    """Counters, histograms and gauges of one gateway.

    Label values are names of the configuration and words of the contract, never what a caller sends: each new label
    value costs memory until the process ends. All methods but `commit` and `commit_failed` run on the event loop.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls = self._counter(
            "calls", "Calls answered to the microservices.", ("provider", "operation", "outcome", "certainty")
        )
        self._attempts = self._counter("attempts", "Attempts at a provider.", ("provider", "outcome", "certainty"))
        self._retries = self._counter(
            "retries",
            "Failed attempts that could be repeated: a retry was 'made', or 'refused' by the retry budget.",
            ("provider", "decision"),
        )
        self._callbacks = self._counter(
            "callbacks", "Callbacks answered to the providers.", ("provider", "path", "answer")
        )
        self._rpcs_rejected = self._counter(
            "rpcs_rejected",
            "RPCs rejected before they are handled: for their caller, or because the gateway is at its limit.",
            ("reason",),
            [(reason,) for reason in RPC_REJECTIONS],
        )
        self._callbacks_rejected = self._counter(
            "callbacks_rejected",
            "Connections and requests of the callback listener that were rejected.",
            ("reason",),
            [(reason,) for reason in CallbackRejection],
        )
        self._commit_failures = self._counter("commit_failures", "Commits that failed.", ("engine",))
        self._exchange_duration = self._duration(
            "exchange", "Duration of one HTTP exchange with a provider, answered or not.", ("provider",)
        )
        self._call_duration = self._duration(
            "call", "Duration of a call, from its request to its answer.", ("provider",)
        )
        self._call_provider_duration = self._duration(
            "call_provider", "The part of a call that its exchanges with the provider took.", ("provider",)
        )
        self._call_gateway_duration = self._duration(
            "call_gateway", "The part of a call that the gateway itself took: store, queues, work.", ("provider",)
        )
        self._callback_duration = self._duration(
            "callback", "Duration of a callback, from its head to its answer.", ("provider", "path")
        )
        self._result_age = Histogram(
            "session_gateway_result_age_seconds",
            "Time from a Result's timestamp to the callback that credited it, 0 where the timestamp is ahead.",
            ("provider",),
            _AGES,
        )
        self._registry.register(self._result_age)
        self._commit_duration = self._duration("commit", "Duration of a commit of the store.", ("engine",))
        self._commit_operations = Histogram(
            "session_gateway_commit_operations", "Operations in one commit of the store.", ("engine",), _OPERATIONS
        )
        self._registry.register(self._commit_operations)
        self._reload_failures = self._counter(
            "config_reload_failures", "Reloads that were refused: the settings before stay.", (), [()]
        )
        self._streams = 0
        self._stream_lag: Callable[[], float] = float
        self._health: Callable[[], Health | None] = lambda: None
        self._reload = ReloadStatus(succeeded=True, succeeded_at=time.time())
        self._rpcs: Callable[[], int] = int
        self._provider_statuses: Callable[[], Iterable[ProviderStatus]] = tuple
        self._key_uses: Callable[[], Iterable[Sample]] = tuple
        self._register_gauges()

    def expect(self, series: ExpectedSeries) -> None:
        """Make all series of a provider exist from 0, so that `increase()` sees the first of each."""
        name = series.provider
        self._calls.expect((name, *labels) for labels in series.calls)
        self._attempts.expect((name, *labels) for labels in series.attempts)
        self._callbacks.expect((name, *labels) for labels in series.callbacks)
        if not name:
            return
        self._retries.expect((name, decision) for decision in RETRY_DECISIONS)
        for histogram in (
            self._exchange_duration,
            self._call_duration,
            self._call_provider_duration,
            self._call_gateway_duration,
        ):
            histogram.expect([(name,)])
        paths = {path for path, _ in series.callbacks}
        self._callback_duration.expect((name, path) for path in paths)
        if paths:
            self._result_age.expect([(name,)])

    def expect_engine(self, engine: str) -> None:
        """Make the series of the store's engine exist from 0."""
        for instrument in (self._commit_failures, self._commit_duration, self._commit_operations):
            instrument.expect([(engine,)])

    def call(self, provider: str, operation: str, outcome: str, certainty: Certainty | None = None) -> None:
        """Count an answered call. `outcome` is its outcome, or the reason of its failure, which has a certainty."""
        self._calls.add((provider, operation, outcome, certainty or ""))

    def attempt(self, provider: str, outcome: str, certainty: Certainty | None = None) -> None:
        """Count an attempt. `outcome` is its outcome, or the reason of its failure, which has a certainty."""
        self._attempts.add((provider, outcome, certainty or ""))

    def latency(self, provider: str, whole_s: float, provider_s: float) -> None:
        """Record the duration of a call: `whole_s`, of which its exchanges with the provider took `provider_s`."""
        labels = (provider,)
        self._call_duration.observe(labels, whole_s)
        self._call_provider_duration.observe(labels, provider_s)
        self._call_gateway_duration.observe(labels, max(0.0, whole_s - provider_s))

    def exchange(self, provider: str, seconds: float) -> None:
        """Record the duration of an exchange with a provider."""
        self._exchange_duration.observe((provider,), seconds)

    def retry(self, provider: str, decision: str) -> None:
        """Count a failed attempt that could be repeated: a retry was 'made', or 'refused' by the retry budget."""
        self._retries.add((provider, decision))

    def callback(self, provider: str, path: str, answer: str, seconds: float | None = None) -> None:
        """Count an answered callback. The adapter declares `path`; `answer` is 'ACCEPTED', 'CREDITED' or a fault."""
        self._callbacks.add((provider, path, answer))
        if seconds is not None:
            self._callback_duration.observe((provider, path), seconds)

    def rpc_rejected(self, reason: str) -> None:
        """Count an RPC that was rejected before it was handled. `reason` is one of RPC_REJECTIONS."""
        self._rpcs_rejected.add((reason,))

    def callback_rejected(self, reason: CallbackRejection) -> None:
        """Count a rejected connection or request of the callback listener."""
        self._callbacks_rejected.add((reason,))

    def result_age(self, provider: str, seconds: float) -> None:
        """Record the age of a Result that was credited. One from a clock that is ahead has no age."""
        self._result_age.observe((provider,), max(0.0, seconds))

    def commit(self, engine: str, operations: int, seconds: float) -> None:
        """Record a commit of `operations` operations. Called from one thread only, which may be any."""
        labels = (engine,)
        self._commit_duration.observe(labels, seconds)
        self._commit_operations.observe(labels, operations)

    def commit_failed(self, engine: str) -> None:
        """Count a failed commit. Called from the thread that calls `commit`."""
        self._commit_failures.add((engine,))

    @contextmanager
    def event_stream(self) -> Iterator[None]:
        """Count a connected subscriber while the body runs."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def reloaded(self, *, succeeded: bool) -> None:
        """Record what became of a reload."""
        if succeeded:
            self._reload = ReloadStatus(succeeded=True, succeeded_at=time.time())
        else:
            self._reload = ReloadStatus(succeeded=False, succeeded_at=self._reload.succeeded_at)
            self._reload_failures.add(())

    def watch_event_streams(self, lag_s: Callable[[], float]) -> None:
        """Set the function that returns at each scrape how far the slowest subscriber is behind, in seconds."""
        self._stream_lag = lag_s

    def watch_health(self, health: Callable[[], Health | None]) -> None:
        """Set the function that returns the gateway's state at each scrape, without waiting for the store."""
        self._health = health

    def watch_providers(self, statuses: Callable[[], Iterable[ProviderStatus]]) -> None:
        """Set the function that returns the providers' statuses at each scrape."""
        self._provider_statuses = statuses

    def watch_callback_keys(self, uses: Callable[[], Iterable[Sample]]) -> None:
        """Set the function that returns the uses of callback keys, by provider and position, at each scrape."""
        self._key_uses = uses

    def watch_rpcs(self, in_flight: Callable[[], int]) -> None:
        """Set the function that returns the number of RPCs in flight at each scrape."""
        self._rpcs = in_flight

    def watch_certificates(self, not_after: Callable[[], Iterable[Sample]]) -> None:
        """Set the function that returns at each scrape when certificates expire, by the path of their key."""
        self._gauge(
            "certificate_not_after_seconds",
            "The Unix time at which a configured certificate expires; of an authority's file the first one.",
            not_after,
            ("file",),
        )

    def render(self) -> tuple[bytes, str]:
        """Return the exposition in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    async def scrape(self) -> tuple[bytes, str]:
        """As `render`, but the text is made on a thread: with many providers that takes longer than a callback."""
        families = Collected([*self._registry.collect()])
        return await asyncio.to_thread(generate_latest, families), CONTENT_TYPE_PLAIN_0_0_4

    def _counter(
        self, name: str, description: str, labels: tuple[str, ...], known: Iterable[tuple[str, ...]] = ()
    ) -> Counter:
        counter = Counter(f"session_gateway_{name}", description, labels, known)
        self._registry.register(counter)
        return counter

    def _duration(self, name: str, description: str, labels: tuple[str, ...]) -> Histogram:
        histogram = Histogram(f"session_gateway_{name}_duration_seconds", description, labels, _SECONDS)
        self._registry.register(histogram)
        return histogram

    def _gauge(
        self, name: str, description: str, read: Callable[[], Iterable[Sample]], labels: tuple[str, ...] = ()
    ) -> None:
        self._registry.register(CallbackGauge(f"session_gateway_{name}", description, labels, read))

    def _provider_gauge(self, name: str, description: str, value: Callable[[ProviderStatus], float]) -> None:
        def read() -> Iterable[Sample]:
            return (((status.provider,), value(status)) for status in self._provider_statuses())

        self._gauge(name, description, read, ("provider",))

    def _read_key_uses(self) -> Iterable[Sample]:
        return self._key_uses()

    def _register_gauges(self) -> None:
        self._registry.register(
            ReadCounter(
                "session_gateway_callback_key_uses",
                "Requests that a callback key authenticated. Position 1 is the first of callback_keys.",
                ("provider", "position"),
                self._read_key_uses,
            )
        )
        self._registry.register(
            ReadCounter(
                "session_gateway_log_lines_dropped",
                "Log lines that were not written, because nothing read them, by level.",
                ("level",),
                lambda: [((level,), lines) for level, lines in dropped_lines().items()],
            )
        )
        self._gauge("event_streams_open", "Connected subscribers of events.", lambda: [((), self._streams)])
        self._gauge(
            "event_stream_lag_seconds",
            "Age of the event that the slowest subscriber takes; 0 where all have the newest.",
            lambda: [((), self._stream_lag())],
        )
        self._gauge(
            "config_last_reload_successful",
            "1 where the last reload succeeded, or there was none.",
            lambda: [((), float(self._reload.succeeded))],
        )
        self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "The Unix time of the start, or of the last reload that succeeded.",
            lambda: [((), self._reload.succeeded_at)],
        )
        self._register_health()
        self._gauge("rpcs_in_flight", "RPCs in progress.", lambda: [((), self._rpcs())])
        self._gauge("event_loop_tasks", "Tasks of the event loop.", lambda: [((), _tasks())])
        build = release(), platform.python_version()  # now: it reads a file, which a scrape may find none left for
        self._gauge("build_info", "Always 1: the release.", lambda: [(build, 1)], ("version", "python_version"))
        self._gauge(
            "circuit_breaker_state",
            "1 for the state of a provider's circuit breaker, 0 for the other states.",
            lambda: (
                ((status.provider, circuit), float(status.circuit == circuit))
                for status in self._provider_statuses()
                for circuit in CIRCUITS
            ),
            ("provider", "state"),
        )
        self._provider_gauge("provider_calls_in_flight", "Calls that hold a permit.", lambda status: status.in_flight)
        self._provider_gauge("provider_calls_queued", "Calls that wait for a permit.", lambda status: status.queued)
        self._provider_gauge(
            "provider_disabled", "1 where an operator has disabled it.", lambda status: status.disabled
        )

    def _register_health(self) -> None:
        def gauge(
            name: str, text: str, read: Callable[[Health], Iterable[Sample]], labels: tuple[str, ...] = ()
        ) -> None:
            self._gauge(name, text, lambda: read(health) if (health := self._health()) is not None else (), labels)

        gauge("ready", "1 where /readyz was 200 when it was last checked.", lambda health: [((), health.ready)])
        gauge(
            "store_available",
            "1 where the store could be written to and read when that was last tried.",
            lambda health: [((), health.store_available)],
        )
        gauge(
            "reconciliation_items_open",
            "Open reconciliation items, as the store had them when it was last read.",
            lambda health: [((each.provider, each.kind), each.count) for each in health.open_items],
            ("provider", "kind"),
        )
        gauge(
            "reconciliation_items_oldest_age_seconds",
            "Age of the oldest open reconciliation item, 0 where there is none.",
            lambda health: [((each.provider, each.kind), each.oldest_age_s) for each in health.open_items],
            ("provider", "kind"),
        )
        gauge(
            "store_disk_free_bytes",
            "Free bytes of the file system that has the SQLite database.",
            lambda health: [((), health.disk[0])] if health.disk else [],
        )
        gauge(
            "store_disk_size_bytes",
            "Size of the file system that has the SQLite database.",
            lambda health: [((), health.disk[1])] if health.disk else [],
        )


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop runs here
        return 0
