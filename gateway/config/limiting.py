"""The tables of a provider that bound the calls to it."""

from gateway.config import values
from gateway.config.table import Table
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits

_MOST_CALLS = 10_000
_LEAST_S, _MOST_S = 0.01, 3600
"""Seconds: a wait that is shorter than the first is none, one that is longer than the second outlasts every caller."""


def limits(table: Table) -> Limits:
    """`[providers.NAME.limits]`."""
    usual = Limits()
    settings = Limits(
        concurrent_calls=table.take("concurrent_calls", values.whole_number(1, _MOST_CALLS), usual.concurrent_calls),
        waiting_calls=table.take("waiting_calls", values.whole_number(0, _MOST_CALLS), usual.waiting_calls),
        calls_per_s=table.take("calls_per_s", values.number(0.01, 100_000), usual.calls_per_s),
        connect_timeout_s=table.take("connect_timeout_s", values.seconds(_LEAST_S, _MOST_S), usual.connect_timeout_s),
        attempt_timeout_s=table.take("attempt_timeout_s", values.seconds(_LEAST_S, _MOST_S), usual.attempt_timeout_s),
    )
    table.refuse_rest()
    return settings


def retry(table: Table) -> RetryLimits:
    """`[providers.NAME.retry]`."""
    usual = RetryLimits()
    settings = RetryLimits(
        attempts=table.take("attempts", values.whole_number(1, 10), usual.attempts),
        backoff_s=table.take("backoff_s", values.seconds(_LEAST_S, 60), usual.backoff_s),
        backoff_most_s=table.take("backoff_most_s", values.seconds(_LEAST_S, 60), usual.backoff_most_s),
    )
    if settings.backoff_most_s < settings.backoff_s:
        table.note("backoff_most_s", "is less than backoff_s, which it bounds")
    table.refuse_rest()
    return settings


def breaker(table: Table) -> BreakerLimits:
    """`[providers.NAME.breaker]`."""
    usual = BreakerLimits()
    settings = BreakerLimits(
        window_s=table.take("window_s", values.seconds(1, _MOST_S), usual.window_s),
        # Of fewer requests a handful of slow ones would shut the way for everybody.
        min_requests=table.take("min_requests", values.whole_number(50, 1_000_000_000), usual.min_requests),
        failure_ratio=table.take("failure_ratio", values.number(0.01, 1), usual.failure_ratio),
        open_s=table.take("open_s", values.seconds(0.1, _MOST_S), usual.open_s),
        probe_s=table.take("probe_s", values.seconds(0.1, _MOST_S), usual.probe_s),
    )
    table.refuse_rest()
    return settings
