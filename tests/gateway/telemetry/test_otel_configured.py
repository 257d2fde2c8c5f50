"""`[traces]`: what the file may say, what is missing where the extra is, and what a collector gets."""

import asyncio
import socket
from importlib.util import find_spec
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.config import ConfigInvalid, TracesSettings, load
from gateway.server.validation import unreadable_files
from gateway.telemetry import tracing
from tests.gateway.telemetry.harness import PROVIDER, telemetry_harness
from tests.support.gateway import configuration, family_table
from tests.support.process import run_here, serving

LUCKY = family_table(PROVIDER, "luckymonaco", "http://127.0.0.1:1")


def test_traces_are_sent_nowhere_if_nothing_is_said(tmp_path: Path) -> None:
    assert load(configuration(tmp_path), {}).traces == TracesSettings()
    assert tracing.open_traces("", 1.0) is None


def test_an_endpoint_and_a_ratio(tmp_path: Path) -> None:
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
def test_what_cannot_be_meant_is_refused_by_its_path(tmp_path: Path, lines: str, path: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load(configuration(tmp_path, f"[traces]\n{lines}"), {})
    assert [problem.path for problem in refused.value.problems] == [path]
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
async def test_where_the_extra_is_not_installed_the_key_and_the_extra_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """The API alone, as other packages bring it along, is not enough."""

    def without(name: str) -> object:
        if name.startswith(f"{missing}."):
            raise ModuleNotFoundError
        return find_spec(name)

    config = configuration(tmp_path, LUCKY, '[traces]\nendpoint = "http://127.0.0.1:4318"')
    assert unreadable_files(load(config, {})) == ()
    monkeypatch.setattr(tracing, "find_spec", without)
    ended = await run_here("check", "--config", str(config))
    assert ended.code != 0
    assert "traces.endpoint" in ended.err + ended.out
    assert "session-gateway[traces]" in (ended.err + ended.out).replace("\n", "")


async def test_a_collector_gets_the_spans_by_the_time_the_gateway_has_stopped(tmp_path: Path) -> None:
    """By OTLP over HTTP, at /v1/traces, the last ones too."""
    received: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        assert (request.path, request.content_type) == ("/v1/traces", "application/x-protobuf")
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    runner = web.ServerRunner(web.Server(take))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with telemetry_harness(tmp_path, f'[traces]\nendpoint = "{endpoint}"') as harness:
            assert await harness.close() is grpc.StatusCode.OK
    finally:
        await runner.cleanup()
    resources = [resource for request in received for resource in request.resource_spans]
    named = {pair.key: pair.value.string_value for pair in resources[0].resource.attributes}
    assert named["service.name"] == "session-gateway"
    spans = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(spans) == sorted(
        ["gateway.v1.SessionService/CloseSession", "attempt", "POST", "store commit", "store commit"]
    )


async def test_a_collector_that_hangs_holds_up_neither_a_call_nor_a_stop(tmp_path: Path) -> None:
    """Of a whole process: no thread of the exporter's keeps it alive."""
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()  # the system connects whoever comes, and nobody ever reads
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        async with serving(configuration(tmp_path, LUCKY, f'[traces]\nendpoint = "{endpoint}"')) as gateway:
            await gateway.open_account()
            started = asyncio.get_running_loop().time()
            await gateway.stop()
            assert asyncio.get_running_loop().time() - started < 5
