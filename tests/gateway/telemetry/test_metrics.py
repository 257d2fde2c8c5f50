"""What is counted comes out in the exposition, under the names that dashboards build on."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.contract import Certainty
from gateway.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = metrics.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_everything_is_counted_under_its_labels() -> None:
    """Calls, exchanges, callbacks and streams each show with the labels that they were told with."""
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
    assert counted["session_gateway_exchange_seconds_bucket", (("le", "0.25"), ("provider", "acme"))] == 1
    assert counted["session_gateway_exchange_seconds_bucket", (("le", "0.1"), ("provider", "acme"))] == 0
    callback = (("answer", "CREDITED"), ("path", "V4/Result"), ("provider", "acme"))
    assert counted["session_gateway_callbacks_total", callback] == 1
    assert counted["session_gateway_event_streams_open", ()] == 1
    assert samples(metrics)["session_gateway_event_streams_open", ()] == 0


def test_a_stream_that_fails_is_no_longer_open() -> None:
    """A subscriber that ends with an error is counted out like any other."""
    metrics = Metrics()
    with pytest.raises(ConnectionResetError), metrics.event_stream():
        raise ConnectionResetError
    assert samples(metrics)["session_gateway_event_streams_open", ()] == 0


def test_two_gateways_in_one_process_count_apart() -> None:
    """Each Metrics has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.exchange("acme", 1.0)
    assert ("session_gateway_exchange_seconds_count", (("provider", "acme"),)) not in samples(second)


def test_the_content_type_is_the_text_formats() -> None:
    """A scraper is told which format it gets."""
    _, content_type = Metrics().render()
    assert content_type.startswith("text/plain; version=0.0.4")
