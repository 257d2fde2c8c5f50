"""The spans of calls and callbacks in a gateway, and the secrets that are never in them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.config import GrpcServerKind
from gateway.server import gateway as gateway_module
from gateway.telemetry.otel import OtelTracer
from tests.gateway.telemetry.harness import PROVIDER, TelemetryHarness, telemetry_harness
from tests.support.gateway import callback_key, locked
from tests.support.provider import answering, hanging
from tests.support.waiting import until

CLOSE = "gateway.v1.SessionService/CloseSession"
RESULT = f"POST /callbacks/{PROVIDER}/{{callback_key}}/V4/Result"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""A caller's traceparent, sampled."""
UNSAMPLED = CALLER[:-1] + "0"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Has the spans that have ended."""
    return InMemorySpanExporter()


@pytest.fixture
def ratio() -> float:
    """The sample ratio."""
    return 1.0


@pytest.fixture(params=list(GrpcServerKind))
async def harness(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    exporter: InMemorySpanExporter,
    ratio: float,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[TelemetryHarness]:
    """A gateway that exports its spans to `exporter`."""
    monkeypatch.setattr(gateway_module, "open_traces", lambda *_: OtelTracer(SimpleSpanProcessor(exporter), ratio))
    async with telemetry_harness(tmp_path, server=request.param) as harness:
        yield harness


Tree = tuple[str, tuple["Tree", ...]]


def trees(spans: tuple[ReadableSpan, ...], root: str) -> list[Tree]:
    """The tree of spans below each span with this name, in the order of their start."""

    def tree(span: ReadableSpan) -> Tree:
        children = [s for s in spans if s.parent and span.context and s.parent.span_id == span.context.span_id]
        children.sort(key=lambda s: s.start_time or 0)
        return (span.name, tuple(tree(child) for child in children))

    return [tree(span) for span in spans if span.name == root]


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The ended spans with this name."""
    return [span for span in exporter.get_finished_spans() if span.name == name]


def one(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The only span with this name."""
    (span,) = named(exporter, name)
    return span


COMMIT: Tree = ("store commit", ())
ATTEMPT: Tree = ("attempt", (("POST", ()),))


async def test_a_close_with_a_retry_has_a_span_for_each_step(
    harness: TelemetryHarness, exporter: InMemorySpanExporter
) -> None:
    """The spans are the RPC, its attempts, their exchanges, and the commits, in order."""
    request_id = str(uuid4())
    assert await harness.close_in_two_attempts(request_id) is grpc.StatusCode.OK
    spans = exporter.get_finished_spans()
    assert trees(spans, CLOSE) == [(CLOSE, (COMMIT, ATTEMPT, COMMIT, COMMIT, ATTEMPT, COMMIT))]
    call = one(exporter, CLOSE)
    assert call.kind is SpanKind.SERVER
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": CLOSE,
        "rpc.status_code": "OK",
        "request_id": request_id,
        "provider": PROVIDER,
    }
    first, second = (span for span in spans if span.name == "attempt")
    assert first.kind is second.kind is SpanKind.CLIENT
    assert first.attributes == {
        "request_id": request_id,
        "provider": PROVIDER,
        "attempt": 1,
        "reason": "PROVIDER_FAILED",
        "certainty": "UNKNOWN",
    }
    assert first.status.status_code is StatusCode.ERROR
    assert second.attributes == {"request_id": request_id, "provider": PROVIDER, "attempt": 2, "outcome": "CLOSED"}
    failed, answered = (span for span in spans if span.name == "POST")
    assert failed.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 503,
        "error.type": "503",
        "server.address": "127.0.0.1",
        "server.port": int(harness.provider.base_url.rpartition(":")[2]),
        "url.full": harness.provider.base_url + harness.provider.received[0].path,
    }
    assert answered.attributes
    assert answered.attributes["http.response.status_code"] == 200
    commit = next(span for span in spans if span.name == "store commit")
    assert commit.attributes == {"db.system.name": "sqlite", "db.operation.name": "COMMIT"}


async def test_a_callers_trace_is_continued_and_not_sent_to_a_provider(
    harness: TelemetryHarness, exporter: InMemorySpanExporter
) -> None:
    """Spans are children of the caller's span, and the provider receives no trace context."""
    assert await harness.close(metadata=[("traceparent", CALLER)]) is grpc.StatusCode.OK
    call = one(exporter, CLOSE)
    assert call.parent
    assert f"{call.parent.trace_id:032x}-{call.parent.span_id:016x}" == CALLER[3:52]
    assert {span.context.trace_id for span in exporter.get_finished_spans() if span.context} == {call.parent.trace_id}
    (received,) = harness.provider.received
    assert {"traceparent", "tracestate", "baggage"}.isdisjoint(name.lower() for name in received.headers)


async def test_a_callers_sampling_decision_applies(harness: TelemetryHarness, exporter: InMemorySpanExporter) -> None:
    """An unsampled traceparent makes no spans, and an invalid one starts a new trace."""
    assert await harness.close(metadata=[("traceparent", UNSAMPLED)]) is grpc.StatusCode.OK
    assert exporter.get_finished_spans() == ()
    assert await harness.close(metadata=[("traceparent", "not one")]) is grpc.StatusCode.OK
    assert one(exporter, CLOSE).parent is None


@pytest.mark.parametrize("ratio", [0.0])
async def test_the_sample_ratio_applies_to_new_traces_only(
    harness: TelemetryHarness, exporter: InMemorySpanExporter
) -> None:
    """At ratio 0 only a trace that the caller samples is exported."""
    await harness.open_account()
    assert await harness.close() is grpc.StatusCode.OK
    assert await harness.result("r-1") == 0
    assert exporter.get_finished_spans() == ()
    assert await harness.close(metadata=[("traceparent", CALLER)]) is grpc.StatusCode.OK
    assert one(exporter, CLOSE).parent is not None


async def test_a_failed_rpc_has_its_reason_and_certainty(
    harness: TelemetryHarness, exporter: InMemorySpanExporter
) -> None:
    """A failure of the gateway or the provider is an error of the span; an error of the caller is not."""
    harness.provider.behaviour = hanging
    assert await harness.close(timeout_s=1.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: named(exporter, CLOSE))  # the caller has the failure before the span ends
    timed_out = one(exporter, CLOSE)
    assert timed_out.attributes
    assert timed_out.attributes["rpc.status_code"] == "DEADLINE_EXCEEDED"
    assert (timed_out.attributes["reason"], timed_out.attributes["certainty"]) == ("PROVIDER_TIMEOUT", "UNKNOWN")
    assert timed_out.status.status_code is StatusCode.ERROR
    exchange = one(exporter, "POST").attributes
    assert exchange
    assert exchange["error.type"] == "TIMEOUT"
    exporter.clear()
    assert await harness.close(provider="nobody") is grpc.StatusCode.NOT_FOUND
    await until(lambda: named(exporter, CLOSE))
    unknown = one(exporter, CLOSE)
    assert unknown.attributes
    assert unknown.attributes["reason"] == "PROVIDER_UNKNOWN"
    assert unknown.status.status_code is StatusCode.UNSET


async def test_a_callback_is_a_separate_trace(harness: TelemetryHarness, exporter: InMemorySpanExporter) -> None:
    """Its spans are the callback, its processing, and the commit."""
    await harness.open_account()
    exporter.clear()
    assert await harness.result("r-1") == 0
    assert await harness.result("r-2", userId="nobody") == 62
    expected = (RESULT, (("process", (COMMIT,)),))
    assert trees(exporter.get_finished_spans(), RESULT) == [expected, expected]
    good, refused = (span for span in exporter.get_finished_spans() if span.name == RESULT)
    assert good.context
    assert refused.context
    assert good.context.trace_id != refused.context.trace_id
    assert good.kind is SpanKind.SERVER
    assert good.attributes
    assert good.attributes["http.request.method"] == "POST"
    assert good.attributes["http.route"] == f"/callbacks/{PROVIDER}/{{callback_key}}/V4/Result"
    assert good.attributes["http.response.status_code"] == 200
    assert (good.attributes["provider"], good.attributes["verdict"]) == (PROVIDER, "CREDITED")
    assert good.attributes["request_id"] == (await harness.gateway.store.exchanges(provider=PROVIDER))[0].id
    assert refused.attributes
    assert refused.attributes["verdict"] == "ACCOUNT_UNKNOWN"
    assert refused.status.status_code is StatusCode.UNSET
    exporter.clear()
    with locked(harness.gateway.database):
        assert await harness.result("r-3") == 998
    assert one(exporter, RESULT).status.status_code is StatusCode.ERROR


async def test_postgresql_has_the_same_spans(
    tmp_path: Path, postgres_url: str, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a group commit is a span of each caller."""
    monkeypatch.setattr(gateway_module, "open_traces", lambda *_: OtelTracer(SimpleSpanProcessor(exporter)))
    async with telemetry_harness(tmp_path, store=postgres_url) as harness:
        await harness.open_account()
        assert await harness.result("r-1") == 0
        assert await harness.close() is grpc.StatusCode.OK
    assert trees(exporter.get_finished_spans(), RESULT) == [(RESULT, (("process", (COMMIT,)),))]
    assert trees(exporter.get_finished_spans(), CLOSE) == [(CLOSE, (COMMIT, ATTEMPT, COMMIT))]
    commit = next(span for span in exporter.get_finished_spans() if span.name == "store commit")
    assert commit.attributes == {"db.system.name": "postgresql", "db.operation.name": "COMMIT"}


async def test_a_providers_trace_context_is_ignored(harness: TelemetryHarness, exporter: InMemorySpanExporter) -> None:
    """A callback starts a new trace, and a rejected one makes no span."""
    host = harness.gateway.listening.callbacks
    for key, traced in ((callback_key(PROVIDER), 1), ("wrong" * 9, 0)):
        exporter.clear()
        url = f"http://{host}/callbacks/{PROVIDER}/{key}/V4/Result"
        async with harness.gateway.http.post(url, data=b"{}", headers={"traceparent": CALLER}) as response:
            await response.read()
        roots = [span for span in exporter.get_finished_spans() if span.name == RESULT]
        assert [span.parent for span in roots] == [None] * traced


async def test_no_secret_is_in_a_span(harness: TelemetryHarness, exporter: InMemorySpanExporter) -> None:
    """Tokens that a provider repeats, callback keys and configured tokens are masked."""
    harness.provider.behaviour = answering(
        200, json.dumps({"error": 56, "description": "no callers-token configured-token"}).encode()
    )
    await harness.close(token="callers-token")
    harness.provider.behaviour = answering()
    await harness.traffic()
    exported = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "***" in exported
    assert "V4/Result" in exported
    for secret in ("callers-token", "configured-token", callback_key(PROVIDER), "kkkk"):
        assert secret not in exported


async def test_an_rpc_without_a_request_id_has_no_such_attribute(
    harness: TelemetryHarness, exporter: InMemorySpanExporter
) -> None:
    """An RPC without request_id and provider has neither attribute."""
    await harness.open_account()
    method = "gateway.v1.WalletService/OpenAccount"
    assert trees(exporter.get_finished_spans(), method) == [(method, (COMMIT,))]
    opened = one(exporter, method).attributes
    assert opened
    assert opened.keys().isdisjoint({"provider", "request_id"})
