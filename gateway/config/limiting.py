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
        max_concurrent_calls=table.optional(
            "max_concurrent_calls", values.whole_number(1, _MOST_CALLS), usual.max_concurrent_calls
        ),
        max_queued_calls=table.optional(
            "max_queued_calls", values.whole_number(0, _MOST_CALLS), usual.max_queued_calls
        ),
        calls_per_s=table.optional("calls_per_s", values.number(0.01, 100_000), usual.calls_per_s),
        connect_timeout_s=table.optional(
            "connect_timeout_s", values.seconds(_LEAST_S, _MOST_S), usual.connect_timeout_s
        ),
        attempt_timeout_s=table.optional(
            "attempt_timeout_s", values.seconds(_LEAST_S, _MOST_S), usual.attempt_timeout_s
        ),
    )
    table.reject_unknown_keys()
    return settings


def retry(table: Table) -> RetryLimits:
    """`[providers.NAME.retry]`."""
    usual = RetryLimits()
    settings = RetryLimits(
        attempts=table.optional("attempts", values.whole_number(1, 10), usual.attempts),
        backoff_s=table.optional("backoff_s", values.seconds(_LEAST_S, 60), usual.backoff_s),
        max_backoff_s=table.optional("max_backoff_s", values.seconds(_LEAST_S, 60), usual.max_backoff_s),
    )
    if settings.max_backoff_s < settings.backoff_s:
        table.note("max_backoff_s", "is less than backoff_s, which it bounds")
    table.reject_unknown_keys()
    return settings


def breaker(table: Table) -> BreakerLimits:
    """`[providers.NAME.breaker]`."""
    usual = BreakerLimits()
    settings = BreakerLimits(
        window_s=table.optional("window_s", values.seconds(1, _MOST_S), usual.window_s),
        # Of fewer requests a handful of slow ones would shut the way for everybody.
        min_requests=table.optional("min_requests", values.whole_number(50, 1_000_000_000), usual.min_requests),
        failure_ratio=table.optional("failure_ratio", values.number(0.01, 1), usual.failure_ratio),
        open_s=table.optional("open_s", values.seconds(0.1, _MOST_S), usual.open_s),
        probe_s=table.optional("probe_s", values.seconds(0.1, _MOST_S), usual.probe_s),
    )
    table.reject_unknown_keys()
    return settings
