"""`[traces]`: its keys, the missing extra, and what a collector receives."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from gateway.config import ConfigInvalid, TracesSettings, load
from gateway.server.validation import unreadable_files
from gateway.telemetry import tracer_factory
from gateway.telemetry.otel import OtelTracer
from tests.gateway.telemetry.harness import PROVIDER, telemetry_harness
from tests.support.gateway import configuration, family_table
from tests.support.process import run_here, serving

LUCKY = family_table(PROVIDER, "luckymonaco", "http://127.0.0.1:1")


def test_traces_are_off_by_default(tmp_path: Path) -> None:
    """Without `[traces]` there is no tracer."""
    assert load(configuration(tmp_path), {}).traces == TracesSettings()
    assert tracer_factory.open_traces("", 1.0) is None


def test_the_endpoint_and_the_ratio_are_loaded(tmp_path: Path) -> None:
    """`endpoint` loses its trailing slash."""
    section = '[traces]\nendpoint = "http://127.0.0.1:4318/"\nsample_ratio = 0.25'
    assert load(configuration(tmp_path, section), {}).traces == TracesSettings("http://127.0.0.1:4318", 0.25)


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ("", "traces.endpoint"),
        ("sample_ratio = 0.5", "traces.endpoint"),
        ('endpoint = "127.0.0.1:4318"', "traces.endpoint"),
        ('endpoint = "http://user:hunter22@collector"', "traces.endpoint"),
        ('endpoint = "http://collector"\nsample_ratio = 1.5', "traces.sample_ratio"),
        ('endpoint = "http://collector"\nsample_ratio = true', "traces.sample_ratio"),
        ('endpoint = "http://collector"\nsampling = 1', "traces.sampling"),
    ],
)
def test_an_invalid_value_is_rejected_by_its_path(tmp_path: Path, lines: str, path: str) -> None:
    """The problem has the path of the key, and no password."""
    with pytest.raises(ConfigInvalid) as raised:
        load(configuration(tmp_path, f"[traces]\n{lines}"), {})
    assert [problem.path for problem in raised.value.problems] == [path]
    assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
async def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """The error names the key and the extra, also where only OpenTelemetry's API is installed."""

    def without(name: str) -> object:
        if name.startswith(f"{missing}."):
            raise ModuleNotFoundError
        return find_spec(name)

    config = configuration(tmp_path, LUCKY, '[traces]\nendpoint = "http://127.0.0.1:4318"')
    assert unreadable_files(load(config, {})) == ()
    monkeypatch.setattr(tracer_factory, "find_spec", without)
    ended = await run_here("check", "--config", str(config))
    assert ended.code != 0
    assert "traces.endpoint" in ended.err + ended.out
    assert "session-gateway[traces]" in (ended.err + ended.out).replace("\n", "")


async def test_a_collector_has_all_spans_when_the_gateway_has_stopped(tmp_path: Path) -> None:
    """They arrive by OTLP over HTTP, at /v1/traces."""
    received: list[ExportTraceServiceRequest] = []

    async def receive(request: web.Request) -> web.Response:
        assert (request.path, request.content_type) == ("/v1/traces", "application/x-protobuf")
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    runner = web.ServerRunner(web.Server(receive))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with telemetry_harness(tmp_path, f'[traces]\nendpoint = "{endpoint}"') as harness:
            assert await harness.close() is grpc.StatusCode.OK
    finally:
        await runner.cleanup()
    resources = [resource for request in received for resource in request.resource_spans]
    attributes = {pair.key: pair.value.string_value for pair in resources[0].resource.attributes}
    assert attributes["service.name"] == "session-gateway"
    spans = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(spans) == sorted(
        ["gateway.v1.SessionService/CloseSession", "attempt", "POST", "store commit", "store commit"]
    )


@pytest.fixture
def hanging_collector() -> Iterator[str]:
    """A server that accepts connections and never answers. Yields its URL."""
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        yield f"http://127.0.0.1:{collector.getsockname()[1]}"


async def test_a_hanging_collector_delays_neither_a_call_nor_a_stop(tmp_path: Path, hanging_collector: str) -> None:
    """A gateway process serves, and exits."""
    section = f'[traces]\nendpoint = "{hanging_collector}"'
    async with serving(configuration(tmp_path, LUCKY, section)) as gateway:
        await gateway.open_account()
        await gateway.stop()


async def test_a_hanging_export_does_not_keep_the_process_alive() -> None:
    """Closing the tracer returns while an export hangs, and leaves only daemon threads."""
    may_end = threading.Event()

    class HangingExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            may_end.wait()
            return SpanExportResult.SUCCESS

    def foreground() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if not thread.daemon}

    before = foreground()
    tracer = OtelTracer(BatchSpanProcessor(HangingExporter()))
    await tracer.span("a span", asyncio.sleep(0))
    try:
        async with asyncio.timeout(30):
            await tracer.close()
        assert foreground() == before
    finally:
        may_end.set()
