"""The trees of spans that a call and a callback make, in a whole gateway, and what never stands in them."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.config import GrpcServerKind
from gateway.server import gateway as app
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
def told() -> InMemorySpanExporter:
    """The spans that have ended."""
    return InMemorySpanExporter()


@pytest.fixture
def ratio() -> float:
    """Of the traces that begin here."""
    return 1.0


@pytest.fixture(params=list(GrpcServerKind))
async def harness(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    told: InMemorySpanExporter,
    ratio: float,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[TelemetryHarness]:
    """A gateway whose spans stay in this process."""
    monkeypatch.setattr(app, "open_traces", lambda *_: OtelTracer(SimpleSpanProcessor(told), ratio))
    async with telemetry_harness(tmp_path, server=request.param) as harness:
        yield harness


Tree = tuple[str, tuple["Tree", ...]]


def trees(spans: tuple[ReadableSpan, ...], root: str) -> list[Tree]:
    """The spans below each root of this name, in the order in which they began."""

    def tree(span: ReadableSpan) -> Tree:
        children = [s for s in spans if s.parent and span.context and s.parent.span_id == span.context.span_id]
        children.sort(key=lambda s: s.start_time or 0)
        return (span.name, tuple(tree(child) for child in children))

    return [tree(span) for span in spans if span.name == root]


def named(told: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans of this name that have ended."""
    return [span for span in told.get_finished_spans() if span.name == name]


def one(told: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The one span of this name."""
    (span,) = named(told, name)
    return span


def strings(told: InMemorySpanExporter) -> Iterator[str]:
    """All that was told."""
    for span in told.get_finished_spans():
        yield span.to_json()


COMMIT: Tree = ("store commit", ())
ATTEMPT: Tree = ("attempt", (("POST", ()),))


async def test_a_close_of_two_attempts(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """The method, its attempts, the exchange of each; and each wait for the store, in its place."""
    mine = str(uuid4())
    assert await harness.close_in_two_attempts(mine) is grpc.StatusCode.OK
    spans = told.get_finished_spans()
    assert trees(spans, CLOSE) == [(CLOSE, (COMMIT, ATTEMPT, COMMIT, COMMIT, ATTEMPT, COMMIT))]
    call = one(told, CLOSE)
    assert call.kind is SpanKind.SERVER
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": CLOSE,
        "rpc.status_code": "OK",
        "request_id": mine,
        "provider": PROVIDER,
    }
    first, second = (span for span in spans if span.name == "attempt")
    assert first.kind is second.kind is SpanKind.CLIENT
    assert first.attributes == {
        "request_id": mine,
        "provider": PROVIDER,
        "attempt": 1,
        "reason": "PROVIDER_FAILED",
        "certainty": "UNKNOWN",
    }
    assert first.status.status_code is StatusCode.ERROR
    assert second.attributes == {"request_id": mine, "provider": PROVIDER, "attempt": 2, "outcome": "CLOSED"}
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


async def test_a_callers_trace_is_taken_on_and_none_is_sent_to_a_provider(
    harness: TelemetryHarness, told: InMemorySpanExporter
) -> None:
    """The caller sees our spans below its own; a provider sees nothing of them."""
    assert await harness.close(metadata=[("traceparent", CALLER)]) is grpc.StatusCode.OK
    call = one(told, CLOSE)
    assert call.parent
    assert f"{call.parent.trace_id:032x}-{call.parent.span_id:016x}" == CALLER[3:52]
    assert {span.context.trace_id for span in told.get_finished_spans() if span.context} == {call.parent.trace_id}
    (received,) = harness.provider.received
    assert {"traceparent", "tracestate", "baggage"}.isdisjoint(name.lower() for name in received.headers)


async def test_what_a_caller_does_not_want_told_is_not_told(
    harness: TelemetryHarness, told: InMemorySpanExporter
) -> None:
    """A traceparent without the sampled flag decides for the whole trace; what is no traceparent decides nothing."""
    assert await harness.close(metadata=[("traceparent", UNSAMPLED)]) is grpc.StatusCode.OK
    assert told.get_finished_spans() == ()
    assert await harness.close(metadata=[("traceparent", "not one")]) is grpc.StatusCode.OK
    assert one(told, CLOSE).parent is None


@pytest.mark.parametrize("ratio", [0.0])
async def test_where_none_are_chosen_only_a_callers_are_told(
    harness: TelemetryHarness, told: InMemorySpanExporter
) -> None:
    """The ratio is for traces that begin here."""
    await harness.open_account()
    assert await harness.close() is grpc.StatusCode.OK
    assert await harness.result("r-1") == 0
    assert told.get_finished_spans() == ()
    assert await harness.close(metadata=[("traceparent", CALLER)]) is grpc.StatusCode.OK
    assert one(told, CLOSE).parent is not None


async def test_failures_say_their_reason_and_certainty(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """What is the caller's own fault is no error of this server's."""
    harness.provider.behaviour = hanging
    assert await harness.close(timeout_s=0.4) is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: named(told, CLOSE))  # a failure is told before its span ends
    late = one(told, CLOSE)
    assert late.attributes
    assert late.attributes["rpc.status_code"] == "DEADLINE_EXCEEDED"
    assert (late.attributes["reason"], late.attributes["certainty"]) == ("PROVIDER_TIMEOUT", "UNKNOWN")
    assert late.status.status_code is StatusCode.ERROR
    asked = one(told, "POST").attributes
    assert asked
    assert asked["error.type"] == "TIMEOUT"
    told.clear()
    assert await harness.close(provider="nobody") is grpc.StatusCode.NOT_FOUND
    await until(lambda: named(told, CLOSE))
    unknown = one(told, CLOSE)
    assert unknown.attributes
    assert unknown.attributes["reason"] == "PROVIDER_UNKNOWN"
    assert unknown.status.status_code is StatusCode.UNSET


async def test_a_callback(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """The callback, its judgement, the wait for the store; each in a trace of its own, whatever the provider sends."""
    await harness.open_account()
    told.clear()
    assert await harness.result("r-1") == 0
    assert await harness.result("r-2", userId="nobody") == 62
    expected = (RESULT, (("judge", (COMMIT,)),))
    assert trees(told.get_finished_spans(), RESULT) == [expected, expected]
    good, refused = (span for span in told.get_finished_spans() if span.name == RESULT)
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
    told.clear()
    with locked(harness.gateway.database):
        assert await harness.result("r-3") == 998
    assert one(told, RESULT).status.status_code is StatusCode.ERROR


async def test_a_callback_on_postgresql(
    tmp_path: Path, postgres_url: str, told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tree: the wait for a commit is the caller's, whoever makes it."""
    monkeypatch.setattr(app, "open_traces", lambda *_: OtelTracer(SimpleSpanProcessor(told)))
    async with telemetry_harness(tmp_path, store=postgres_url) as harness:
        await harness.open_account()
        assert await harness.result("r-1") == 0
        assert await harness.close() is grpc.StatusCode.OK
    assert trees(told.get_finished_spans(), RESULT) == [(RESULT, (("judge", (COMMIT,)),))]
    assert trees(told.get_finished_spans(), CLOSE) == [(CLOSE, (COMMIT, ATTEMPT, COMMIT))]
    commit = next(span for span in told.get_finished_spans() if span.name == "store commit")
    assert commit.attributes == {"db.system.name": "postgresql", "db.operation.name": "COMMIT"}


async def test_a_strangers_trace_is_not_taken_on(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """Whoever calls back cannot write into the operator's traces; who is turned away makes none at all."""
    host = harness.gateway.listening.callbacks
    for key, traced in ((callback_key(PROVIDER), 1), ("wrong" * 9, 0)):
        told.clear()
        url = f"http://{host}/callbacks/{PROVIDER}/{key}/V4/Result"
        async with harness.gateway.http.post(url, data=b"{}", headers={"traceparent": CALLER}) as response:
            await response.read()
        roots = [span for span in told.get_finished_spans() if span.name == RESULT]
        assert [span.parent for span in roots] == [None] * traced


async def test_no_secret_is_told(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """Tokens that a provider repeats, its callback key, the operator's own token: of none a trace is in any span."""
    harness.provider.behaviour = answering(
        200, json.dumps({"error": 56, "description": "no callers-token configured-token"}).encode()
    )
    await harness.close(token="callers-token")
    harness.provider.behaviour = answering()
    await harness.traffic()
    all_told = "".join(strings(told))
    assert "***" in all_told
    assert "V4/Result" in all_told
    for secret in ("callers-token", "configured-token", callback_key(PROVIDER), "kkkk"):
        assert secret not in all_told


async def test_a_call_without_a_request_says_none(harness: TelemetryHarness, told: InMemorySpanExporter) -> None:
    """An RPC that has neither request nor provider says neither."""
    await harness.open_account()
    method = "gateway.v1.WalletService/OpenAccount"
    assert trees(told.get_finished_spans(), method) == [(method, (COMMIT,))]
    opened = one(told, method).attributes
    assert opened
    assert opened.keys().isdisjoint({"provider", "request_id"})
