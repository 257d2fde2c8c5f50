"""Each log line of a call or a callback has its request_id and provider, in every package."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from adapters.contract import HttpReply
from gateway.config import GrpcServerKind
from gateway.store.base import StoreUnavailable
from gateway.telemetry.logs import bound
from gateway.v1.reconciliation_service_pb2 import RedeliverCallbackRequest
from gateway.v1.session_service_pb2 import ListProvidersRequest
from tests.gateway.rpc.harness import replace_close
from tests.gateway.telemetry.harness import PROVIDER, LogLines, TelemetryHarness, telemetry_harness
from tests.support.gateway import locked
from tests.support.provider import answering, hanging
from tests.support.results import result_body
from tests.support.waiting import until

HOUSEKEEPING = "housekeeping failed, will retry"


@pytest.fixture(params=list(GrpcServerKind))
async def harness(
    tmp_path: Path, request: pytest.FixtureRequest, log_lines: LogLines
) -> AsyncIterator[TelemetryHarness]:
    """A gateway whose log is read. `log_lines` comes first, because loggers are bound at their first line."""
    async with telemetry_harness(tmp_path, server=request.param) as harness:
        yield harness


def call_lines(log_lines: LogLines) -> list[dict[str, Any]]:
    """The log lines except those of housekeeping and of asyncio, which belong to no call."""
    return [line for line in log_lines() if line["event"] != HOUSEKEEPING and line["logger"] != "asyncio"]


def of(lines: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    """The lines of a request."""
    return [line for line in lines if line.get("request_id") == request_id]


async def test_bound_fields_do_not_leak_into_the_next_call(harness: TelemetryHarness, log_lines: LogLines) -> None:
    """The last line of a call has its request_id and provider, and the line of the next call does not."""
    request_id = str(uuid4())
    await harness.close(request_id)
    await harness.gateway.sessions.ListProviders(ListProvidersRequest())
    close, listing = (line for line in call_lines(log_lines) if "SessionService" in line.get("method", ""))
    assert (close["request_id"], close["provider"]) == (request_id, PROVIDER)
    assert "request_id" not in listing


async def test_every_line_of_a_call_has_its_request_id(harness: TelemetryHarness, log_lines: LogLines) -> None:
    """Also where it is retried, is rejected, times out, or meets a locked store."""
    ids = [str(uuid4()) for _ in range(6)]
    assert await harness.close(ids[0]) is grpc.StatusCode.OK
    assert await harness.close_in_two_attempts(ids[1]) is grpc.StatusCode.OK
    harness.provider.behaviour = hanging
    assert await harness.close(ids[2], timeout_s=1.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await harness.close(ids[3], provider="dead") is grpc.StatusCode.UNAVAILABLE
    harness.provider.behaviour = answering()
    with locked(harness.gateway.database):
        assert await harness.close(ids[4], timeout_s=1.5) is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(harness.gateway.gateway.close_service.drain(), 60)
    assert await harness.close(ids[5], session_id="s\x07") is grpc.StatusCode.INVALID_ARGUMENT
    lines = call_lines(log_lines)
    assert [line for line in lines if line.get("request_id") not in ids or not line.get("provider")] == []
    for each in ids:
        (last,) = [line for line in of(lines, each) if line["event"].startswith("rpc")]
        assert last["provider"] == ("dead" if each == ids[3] else PROVIDER)
    assert any(line["event"] == "intent not recorded" for line in of(lines, ids[4]))


async def test_the_traceback_of_a_bug_has_its_request_id(harness: TelemetryHarness, log_lines: LogLines) -> None:
    """It is logged by the task that executes the close, not by the call's own task."""

    def broken(_: object, reply: HttpReply) -> None:
        raise RuntimeError

    replace_close(harness.gateway, decode=broken)
    request_id = str(uuid4())
    assert await harness.close(request_id) is grpc.StatusCode.INTERNAL
    assert len(of(call_lines(log_lines), request_id)) >= 2
    assert [line for line in call_lines(log_lines) if line.get("provider") != PROVIDER] == []


async def test_every_line_of_a_callback_has_its_request_id(harness: TelemetryHarness, log_lines: LogLines) -> None:
    """Accepted, refused and unauthenticated callbacks on one connection do not mix their fields."""
    await harness.open_account()
    before = len(call_lines(log_lines))
    assert await harness.result("r-1") == 0
    assert await harness.expired() == 0
    assert await harness.result("r-2", userId="nobody") == 62
    with locked(harness.gateway.database):
        assert await harness.result("r-3") == 998
    assert await harness.gateway.callback(PROVIDER, "V4/Balance", b"{}") == (404, b"")
    assert await harness.gateway.callback("nobody", "V4/Result", result_body("r-9")) == (404, b"")
    *lines, rejected = call_lines(log_lines)[before:]
    assert rejected["event"] == "callback rejected"
    assert rejected.keys().isdisjoint({"request_id", "provider"})  # none of the callback before it
    assert [line for line in lines if line.get("provider") != PROVIDER or not line.get("request_id")] == []
    callbacks = [line for line in lines if line["event"] == "callback"]
    assert [line["verdict"] for line in callbacks] == ["CREDITED", "ACCEPTED", "ACCOUNT_UNKNOWN", "TRY_AGAIN"]
    assert len({line["request_id"] for line in callbacks}) == 4
    assert all(line["request_id"] == line["exchange_id"] for line in callbacks)


async def test_concurrent_callbacks_do_not_mix_their_fields(
    harness: TelemetryHarness, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that logs during a callback logs that callback's fields."""
    await harness.open_account()
    inner = harness.gateway.store.apply

    async def logging_apply(*arguments: Any) -> Any:
        fields = dict(bound())
        await asyncio.sleep(0)
        logging.getLogger("library").warning("asked", extra={})
        assert bound() == fields
        return await inner(*arguments)

    monkeypatch.setattr(harness.gateway.store, "apply", logging_apply)
    await asyncio.gather(*(harness.result(f"many-{n}") for n in range(30)))
    references = {
        line["request_id"]: line["reference"] for line in call_lines(log_lines) if line["event"] == "callback"
    }
    assert len(references) == len(set(references.values())) == 30
    assert {line["request_id"] for line in call_lines(log_lines) if line["event"] == "asked"} == set(references)


async def test_a_line_of_a_background_task_has_the_callbacks_fields(
    harness: TelemetryHarness, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that records a callback after its answer logs the callback's request_id and provider."""

    async def lost(*_: object) -> None:
        raise StoreUnavailable("the answer was lost", unchanged=False)

    monkeypatch.setattr(harness.gateway.gateway.wallet, "credit", lost)
    with locked(harness.gateway.database):
        assert await harness.result("r-1") == 998
        await until(lambda: "callback not journalled" in [line["event"] for line in call_lines(log_lines)])
    (recorded,) = [line for line in call_lines(log_lines) if line["event"] == "callback not journalled"]
    (callback,) = [line for line in call_lines(log_lines) if line["event"] == "callback"]
    assert recorded["request_id"] == callback["request_id"]
    assert recorded["provider"] == PROVIDER


async def test_the_lines_of_a_redelivery_have_its_fields(harness: TelemetryHarness, log_lines: LogLines) -> None:
    """The line of the RPC has them too."""
    assert await harness.result("r-1") == 62
    (kept,) = (await harness.gateway.store.refused_callbacks()).entries
    before = len(call_lines(log_lines))
    request = RedeliverCallbackRequest(exchange_id=kept.id, actor="alice", reason="account opened")
    await harness.open_account()
    await harness.gateway.reconciliation.RedeliverCallback(request)
    lines = [line for line in call_lines(log_lines)[before:] if "OpenAccount" not in line.get("method", "")]
    assert {line["event"] for line in lines} == {"callback redelivered", "rpc"}
    assert {line["provider"] for line in lines} == {PROVIDER}
    assert len({line["request_id"] for line in lines}) == 1
