"""Recorded metrics are exported under the names that dashboards use."""

import asyncio
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.contract import Certainty
from gateway.telemetry.metrics import CIRCUITS, Metrics, ProviderStatus


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = metrics.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_counters_have_their_labels() -> None:
    """Calls, exchanges, callbacks and event streams are exported with the labels that they were recorded with."""
    metrics = Metrics()
    metrics.call("acme", "close_session", "CLOSED")
    metrics.call("acme", "close_session", "PROVIDER_TIMEOUT", Certainty.UNKNOWN)
    metrics.call("acme", "close_session", "PROVIDER_TIMEOUT", Certainty.UNKNOWN)
    metrics.exchange("acme", 0.2)
    metrics.callback("acme", "V4/Result", "CREDITED")
    with metrics.event_stream():
        counted = samples(metrics)
    call = (("operation", "close_session"), ("outcome", "PROVIDER_TIMEOUT"), ("provider", "acme"))
    assert counted["session_gateway_calls_total", (("certainty", "UNKNOWN"), *call)] == 2
    closed = (("certainty", ""), ("operation", "close_session"), ("outcome", "CLOSED"), ("provider", "acme"))
    assert counted["session_gateway_calls_total", closed] == 1
    assert counted["session_gateway_exchange_duration_seconds_bucket", (("le", "0.25"), ("provider", "acme"))] == 1
    assert counted["session_gateway_exchange_duration_seconds_bucket", (("le", "0.1"), ("provider", "acme"))] == 0
    callback = (("answer", "CREDITED"), ("path", "V4/Result"), ("provider", "acme"))
    assert counted["session_gateway_callbacks_total", callback] == 1
    assert counted["session_gateway_event_streams_open", ()] == 1
    assert samples(metrics)["session_gateway_event_streams_open", ()] == 0


def test_attempts_and_retries_are_counted_separately_from_calls() -> None:
    """A call of two attempts is one call, two attempts, and one retry."""
    metrics = Metrics()
    metrics.attempt("acme", "PROVIDER_TIMEOUT", Certainty.UNKNOWN)
    metrics.retry("acme", "made")
    metrics.attempt("acme", "CLOSED")
    metrics.call("acme", "close_session", "CLOSED")
    counted = samples(metrics)
    failed = (("certainty", "UNKNOWN"), ("outcome", "PROVIDER_TIMEOUT"), ("provider", "acme"))
    assert counted["session_gateway_attempts_total", failed] == 1
    closed = (("certainty", ""), ("outcome", "CLOSED"), ("provider", "acme"))
    assert counted["session_gateway_attempts_total", closed] == 1
    assert counted["session_gateway_retries_total", (("decision", "made"), ("provider", "acme"))] == 1


def test_a_calls_duration_is_the_sum_of_provider_and_gateway() -> None:
    """Each of the three has a histogram."""
    metrics = Metrics()
    metrics.latency("acme", 0.25, 0.2)
    metrics.latency("acme", 0.1, 0.1)
    counted = samples(metrics)
    acme = (("provider", "acme"),)
    assert counted["session_gateway_call_duration_seconds_sum", acme] == pytest.approx(0.35)
    assert counted["session_gateway_call_provider_duration_seconds_sum", acme] == pytest.approx(0.3)
    assert counted["session_gateway_call_gateway_duration_seconds_sum", acme] == pytest.approx(0.05)
    assert counted["session_gateway_call_duration_seconds_count", acme] == 2
    assert counted["session_gateway_call_gateway_duration_seconds_bucket", (("le", "0.0005"), *acme)] == 1


def test_a_bucket_counts_values_up_to_its_bound() -> None:
    """A bucket counts values less than or equal to its bound, and the last one counts all."""
    metrics = Metrics()
    for seconds in (0.01, 0.011, 1000.0):
        metrics.exchange("acme", seconds)
    counted = samples(metrics)
    name, acme = "session_gateway_exchange_duration_seconds_bucket", ("provider", "acme")
    assert counted[name, (("le", "0.005"), acme)] == 0
    assert counted[name, (("le", "0.01"), acme)] == 1
    assert counted[name, (("le", "0.025"), acme)] == 2
    assert counted[name, (("le", "30.0"), acme)] == 2
    assert counted[name, (("le", "+Inf"), acme)] == 3


def test_a_callback_without_a_duration_is_not_in_the_histogram() -> None:
    """The histogram counts only callbacks that were recorded with a duration."""
    metrics = Metrics()
    metrics.callback("acme", "V4/Result", "CREDITED", seconds=0.004)
    metrics.callback("acme", "V4/Result", "CREDITED")
    counted = samples(metrics)
    assert (
        counted["session_gateway_callback_duration_seconds_count", (("path", "V4/Result"), ("provider", "acme"))] == 1
    )


def test_commits_have_a_size_and_a_duration() -> None:
    """Both are exported by engine, and failures are counted separately."""
    metrics = Metrics()
    metrics.commit("sqlite", 3, 0.002)
    metrics.commit_failed("sqlite")
    counted = samples(metrics)
    sqlite = (("engine", "sqlite"),)
    assert counted["session_gateway_commit_operations_sum", sqlite] == 3
    assert counted["session_gateway_commit_duration_seconds_count", sqlite] == 1
    assert counted["session_gateway_commit_failures_total", sqlite] == 1


def test_providers_are_read_at_each_scrape() -> None:
    """A scrape exports the state of the present providers, and not of a removed one."""
    metrics = Metrics()
    states = [ProviderStatus("acme", 7, 2, "HALF_OPEN", disabled=True)]
    metrics.watch_providers(lambda: states)
    counted = samples(metrics)
    acme = ("provider", "acme")
    assert counted["session_gateway_provider_calls_in_flight", (acme,)] == 7
    assert counted["session_gateway_provider_calls_queued", (acme,)] == 2
    assert counted["session_gateway_provider_disabled", (acme,)] == 1
    circuit = {state: counted["session_gateway_circuit_breaker_state", (acme, ("state", state))] for state in CIRCUITS}
    assert circuit == {"CLOSED": 0, "OPEN": 0, "HALF_OPEN": 1}
    states.clear()
    assert ("session_gateway_provider_calls_queued", (acme,)) not in samples(metrics)


async def test_rpcs_and_tasks_are_read_at_each_scrape() -> None:
    """A scrape exports the RPCs in flight, the tasks of the event loop, and the release."""
    metrics = Metrics()
    metrics.watch_rpcs(lambda: 4)
    before = samples(metrics)
    assert before["session_gateway_rpcs_in_flight", ()] == 4
    async with asyncio.TaskGroup() as tasks:
        release = asyncio.Event()
        tasks.create_task(release.wait())
        assert (
            samples(metrics)["session_gateway_event_loop_tasks", ()]
            == before["session_gateway_event_loop_tasks", ()] + 1
        )
        release.set()
    assert any(name == "session_gateway_build_info" for name, _ in before)


def test_a_scrape_does_not_disturb_counting_on_another_thread() -> None:
    """No commit is lost that the store's thread records during a scrape."""
    metrics = Metrics()
    done = threading.Event()

    def commit() -> None:
        for number in range(2000):
            metrics.commit(f"engine-{number}", 1, 0.001)
        done.set()

    thread = threading.Thread(target=commit)
    thread.start()
    while not done.is_set():
        metrics.render()
    thread.join()
    assert sum(name == "session_gateway_commit_duration_seconds_count" for name, _ in samples(metrics)) == 2000


def test_a_failed_event_stream_is_not_open() -> None:
    """A stream that ends with an error is no longer counted as open."""
    metrics = Metrics()
    with pytest.raises(ConnectionResetError), metrics.event_stream():
        raise ConnectionResetError
    assert samples(metrics)["session_gateway_event_streams_open", ()] == 0


def test_two_gateways_in_one_process_count_separately() -> None:
    """Each Metrics has a separate registry."""
    first, second = Metrics(), Metrics()
    first.exchange("acme", 1.0)
    assert ("session_gateway_exchange_duration_seconds_count", (("provider", "acme"),)) not in samples(second)


def test_the_content_type_is_that_of_the_text_format() -> None:
    """A scraper gets the content type of the exposition format."""
    _, content_type = Metrics().render()
    assert content_type.startswith("text/plain; version=0.0.4")
