"""What operations watch, in a registry of its own, so that two gateways in one process do not meet."""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from adapters.contract import Certainty
from gateway.telemetry.instruments import CallbackGauge, Counter, Histogram, Sample

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OPERATIONS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

CIRCUITS = ("CLOSED", "OPEN", "HALF_OPEN")
"""The states of a circuit breaker, as `session_gateway_circuit` has them."""


class ProviderStatus(msgspec.Struct, frozen=True):
    """How a provider stands at the moment of a scrape."""

    provider: str
    in_flight: int
    """Calls that have a place at the provider."""
    queued: int
    """Calls that wait for one."""
    circuit: str
    """One of CIRCUITS."""
    disabled: bool


class Metrics:
    """Counts and durations. Labels are names of the configuration and words of the contract, never what a caller sends:
    each new value of a label costs memory for as long as the process lives.

    All but `commit` and `commit_failed` are called on the event loop.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls = self._tally(
            "calls",
            "Calls answered to the microservices, by what they came to.",
            ("provider", "operation", "outcome", "certainty"),
        )
        self._attempts = self._tally(
            "attempts",
            "Attempts at a provider, by what each of them came to.",
            ("provider", "outcome", "certainty"),
        )
        self._retries = self._tally(
            "retries",
            "Attempts that failed and could be repeated: 'made' another, or 'refused' by the retry budget.",
            ("provider", "decision"),
        )
        self._callbacks = self._tally(
            "callbacks", "Callbacks answered to the providers.", ("provider", "path", "answer")
        )
        self._commit_failures = self._tally("commit_failures", "Commits that the database did not take.", ("engine",))
        self._exchanges = self._seconds(
            "exchange", "How long one HTTP exchange with a provider took, answered or not.", ("provider",)
        )
        self._whole = self._seconds("call", "How long a call took, from its request to its answer.", ("provider",))
        self._providers_part = self._seconds(
            "call_provider", "How much of a call its exchanges with the provider took together.", ("provider",)
        )
        self._own_part = self._seconds(
            "call_gateway", "How much of a call was the gateway's own: its store, its queues, its work.", ("provider",)
        )
        self._callback_seconds = self._seconds(
            "callback", "How long a callback took, from its head to its answer.", ("provider", "path")
        )
        self._commit_seconds = self._seconds("commit", "How long a commit of the store took.", ("engine",))
        self._commit_operations = Histogram(
            "session_gateway_commit_operations", "Operations in one commit of the store.", ("engine",), _OPERATIONS
        )
        self._registry.register(self._commit_operations)
        self._streams = 0
        self._rpcs: Callable[[], int] = int
        self._provider_states: Callable[[], Iterable[ProviderStatus]] = tuple
        self._register_readings()

    def call(self, provider: str, operation: str, outcome: str, certainty: Certainty | None = None) -> None:
        """A call was answered: `outcome` is its outcome, or the reason of its failure with that failure's certainty."""
        self._calls.add((provider, operation, outcome, certainty or ""))

    def attempt(self, provider: str, outcome: str, certainty: Certainty | None = None) -> None:
        """An attempt ended: `outcome` is its outcome, or the reason of its failure with that failure's certainty."""
        self._attempts.add((provider, outcome, certainty or ""))

    def latency(self, provider: str, whole_s: float, provider_s: float) -> None:
        """A call was answered after `whole_s`, of which its exchanges with the provider took `provider_s`."""
        labels = (provider,)
        self._whole.observe(labels, whole_s)
        self._providers_part.observe(labels, provider_s)
        self._own_part.observe(labels, max(0.0, whole_s - provider_s))

    def exchange(self, provider: str, seconds: float) -> None:
        """An exchange with a provider ended."""
        self._exchanges.observe((provider,), seconds)

    def retry(self, provider: str, decision: str) -> None:
        """An attempt failed that could be repeated: another was 'made', or 'refused' by the retry budget."""
        self._retries.add((provider, decision))

    def callback(self, provider: str, path: str, answer: str, seconds: float | None = None) -> None:
        """A callback was answered, on a path that the adapter declares, with 'ACCEPTED', 'CREDITED' or a fault."""
        self._callbacks.add((provider, path, answer))
        if seconds is not None:
            self._callback_seconds.observe((provider, path), seconds)

    def commit(self, engine: str, operations: int, seconds: float) -> None:
        """The store committed so many operations at once. From any thread, always the same."""
        labels = (engine,)
        self._commit_seconds.observe(labels, seconds)
        self._commit_operations.observe(labels, operations)

    def commit_failed(self, engine: str) -> None:
        """The store could not commit. From the thread that `commit` is called on."""
        self._commit_failures.add((engine,))

    @contextmanager
    def event_stream(self) -> Iterator[None]:
        """Counts a subscriber as connected while the body runs."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def watch_providers(self, states: Callable[[], Iterable[ProviderStatus]]) -> None:
        """Ask this for the providers' states at each scrape."""
        self._provider_states = states

    def watch_rpcs(self, under_way: Callable[[], int]) -> None:
        """Ask this at each scrape how many RPCs are under way."""
        self._rpcs = under_way

    def render(self) -> tuple[bytes, str]:
        """The exposition in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def _tally(self, name: str, words: str, labels: tuple[str, ...]) -> Counter:
        tally = Counter(f"session_gateway_{name}", words, labels)
        self._registry.register(tally)
        return tally

    def _seconds(self, name: str, words: str, labels: tuple[str, ...]) -> Histogram:
        distribution = Histogram(f"session_gateway_{name}_seconds", words, labels, _SECONDS)
        self._registry.register(distribution)
        return distribution

    def _reading(
        self, name: str, words: str, read: Callable[[], Iterable[Sample]], labels: tuple[str, ...] = ()
    ) -> None:
        self._registry.register(CallbackGauge(f"session_gateway_{name}", words, labels, read))

    def _register_readings(self) -> None:
        of_provider = ("provider",)
        self._reading("event_streams_open", "Subscribers of events connected.", lambda: [((), self._streams)])
        self._reading("rpcs_under_way", "RPCs that are being served.", lambda: [((), self._rpcs())])
        self._reading("tasks", "Tasks of the event loop.", lambda: [((), _tasks())])
        self._reading("build_info", "Always 1: the release.", lambda: [(_build(), 1)], ("version", "python_version"))
        self._reading(
            "provider_calls_under_way",
            "Calls that have a place at a provider.",
            lambda: (((state.provider,), state.in_flight) for state in self._provider_states()),
            of_provider,
        )
        self._reading(
            "provider_calls_waiting",
            "Calls that wait for a place at a provider.",
            lambda: (((state.provider,), state.queued) for state in self._provider_states()),
            of_provider,
        )
        self._reading(
            "circuit",
            "1 for the state that a provider's circuit breaker is in, and 0 for the others.",
            lambda: (
                ((state.provider, circuit), float(state.circuit == circuit))
                for state in self._provider_states()
                for circuit in CIRCUITS
            ),
            ("provider", "state"),
        )
        self._reading(
            "provider_switched_off",
            "1 where a person has switched a provider off.",
            lambda: (((state.provider,), float(state.disabled)) for state in self._provider_states()),
            of_provider,
        )


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop runs here
        return 0


@cache
def _build() -> tuple[str, str]:
    try:
        return version("session-gateway"), platform.python_version()
    except PackageNotFoundError:  # run from its sources
        return "unknown", platform.python_version()
