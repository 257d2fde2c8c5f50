"""Each line of the log that belongs to a call or a callback says whose it is, whichever room wrote it."""

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
from tests.gateway.rpc.test_discretion import replace_close
from tests.gateway.telemetry.harness import PROVIDER, TelemetryHarness, telemetry_harness
from tests.gateway.telemetry.lines import Lines
from tests.support.gateway import locked
from tests.support.provider import answering, hanging
from tests.support.results import result_body

HOUSEKEEPING = "housekeeping put off: it is tried again"


@pytest.fixture(params=list(GrpcServerKind))
async def harness(tmp_path: Path, request: pytest.FixtureRequest, written: Lines) -> AsyncIterator[TelemetryHarness]:
    """A gateway whose log is read; `written` comes first, for loggers are bound to what is configured."""
    async with telemetry_harness(tmp_path, server=request.param) as harness:
        yield harness


def belonging(written: Lines) -> list[dict[str, Any]]:
    """The lines but for what the gateway says of itself, and asyncio of the garbage that a test's provider leaves."""
    return [line for line in written() if line["event"] != HOUSEKEEPING and line["logger"] != "asyncio"]


def of(lines: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    """A request's lines."""
    return [line for line in lines if line.get("request_id") == request_id]


async def test_what_a_call_binds_is_not_on_the_next_ones_line(harness: TelemetryHarness, written: Lines) -> None:
    """What operations find a call by stands on its last line, and not on another's that came behind it."""
    request_id = str(uuid4())
    await harness.close(request_id)
    await harness.gateway.sessions.ListProviders(ListProvidersRequest())
    close, listing = (line for line in belonging(written) if "SessionService" in line.get("method", ""))
    assert (close["request_id"], close["provider"]) == (request_id, PROVIDER)
    assert "request_id" not in listing


async def test_every_line_of_a_call_says_whose_it_is(harness: TelemetryHarness, written: Lines) -> None:
    """Whether it succeeds, is repeated, is refused, hangs, meets a store that is locked, or a bug."""
    ids = [str(uuid4()) for _ in range(6)]
    assert await harness.close(ids[0]) is grpc.StatusCode.OK
    assert await harness.close_in_two_attempts(ids[1]) is grpc.StatusCode.OK
    harness.provider.behaviour = hanging
    assert await harness.close(ids[2], timeout_s=0.4) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await harness.close(ids[3], provider="dead") is grpc.StatusCode.UNAVAILABLE
    harness.provider.behaviour = answering()
    with locked(harness.gateway.database):
        assert await harness.close(ids[4], timeout_s=0.4) is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(harness.gateway.gateway.close_service.drain(), 10)
    assert await harness.close(ids[5], session_id="s\x07") is grpc.StatusCode.INVALID_ARGUMENT
    lines = belonging(written)
    assert [line for line in lines if line.get("request_id") not in ids or not line.get("provider")] == []
    for each in ids:
        (last,) = [line for line in of(lines, each) if line["event"].startswith("rpc")]
        assert last["provider"] == ("dead" if each == ids[3] else PROVIDER)
    assert any(line["event"] == "intent not recorded" for line in of(lines, ids[4]))


async def test_a_bugs_traceback_says_whose_call_it_was(
    harness: TelemetryHarness, written: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported in a task of the flight's, where the call's own waits."""

    def broken(_: object, reply: HttpReply) -> None:
        raise RuntimeError

    replace_close(harness, monkeypatch, decode=broken)  # type: ignore[arg-type]
    mine = str(uuid4())
    assert await harness.close(mine) is grpc.StatusCode.INTERNAL
    assert len(of(belonging(written), mine)) >= 2
    assert [line for line in belonging(written) if line.get("provider") != PROVIDER] == []


async def test_every_line_of_a_callback_says_whose_it_is(harness: TelemetryHarness, written: Lines) -> None:
    """On one connection, one after the other, good ones, refused ones, strangers, and a store that is locked."""
    await harness.open_account()
    before = len(belonging(written))
    assert await harness.result("r-1") == 0
    assert await harness.expired() == 0
    assert await harness.result("r-2", userId="nobody") == 62
    with locked(harness.gateway.database):
        assert await harness.result("r-3") == 998
    assert await harness.gateway.callback(PROVIDER, "V4/Balance", b"{}") == (404, b"")
    assert await harness.gateway.callback("nobody", "V4/Result", result_body("r-9")) == (404, b"")
    *lines, stranger = belonging(written)[before:]
    assert stranger["event"] == "callback turned away"
    assert stranger.keys().isdisjoint({"request_id", "provider"})  # nothing is left of the callback before it
    assert [line for line in lines if line.get("provider") != PROVIDER or not line.get("request_id")] == []
    told = [line for line in lines if line["event"] == "callback"]
    assert [line["verdict"] for line in told] == ["CREDITED", "ACCEPTED", "ACCOUNT_UNKNOWN", "TRY_AGAIN"]
    assert len({line["request_id"] for line in told}) == 4
    assert all(line["request_id"] == line["exchange_id"] for line in told)


async def test_callbacks_at_once_do_not_mix(
    harness: TelemetryHarness, written: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many connections, and a library that logs in the middle of each."""
    await harness.open_account()
    inner = harness.gateway.store.apply

    async def talkative(*arguments: Any) -> Any:
        mine = dict(bound())
        await asyncio.sleep(0)
        logging.getLogger("library").warning("asked", extra={})
        assert bound() == mine
        return await inner(*arguments)

    monkeypatch.setattr(harness.gateway.store, "apply", talkative)
    await asyncio.gather(*(harness.result(f"many-{n}") for n in range(30)))
    told = {line["request_id"]: line["reference"] for line in belonging(written) if line["event"] == "callback"}
    assert len(told) == len(set(told.values())) == 30
    assert {line["request_id"] for line in belonging(written) if line["event"] == "asked"} == set(told)


async def test_a_note_that_is_made_behind_the_callers_back_says_whose_it_is(
    harness: TelemetryHarness, written: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that may have taken it leaves a task behind: its lines are the callback's still."""
    judge = harness.gateway.gateway.callback_processor

    async def lost(*_: object) -> None:
        raise StoreUnavailable("the answer was lost", unchanged=False)

    monkeypatch.setattr(judge._wallet, "credit", lost)
    with locked(harness.gateway.database):
        assert await harness.result("r-1") == 998
        await asyncio.wait_for(asyncio.gather(*judge._noting), 15)
    (noted,) = [line for line in belonging(written) if line["event"] == "callback not journalled"]
    (told,) = [line for line in belonging(written) if line["event"] == "callback"]
    assert noted["request_id"] == told["request_id"]
    assert noted["provider"] == PROVIDER


async def test_the_lines_of_a_redelivery_say_whose_it_is(harness: TelemetryHarness, written: Lines) -> None:
    """The RPC's own line too."""
    assert await harness.result("r-1") == 62
    (kept,) = (await harness.gateway.store.refused_callbacks()).entries
    before = len(belonging(written))
    request = RedeliverCallbackRequest(exchange_id=kept.id, actor="alice", reason="account opened")
    await harness.open_account()
    await harness.gateway.reconciliation.RedeliverCallback(request)
    lines = [line for line in belonging(written)[before:] if "OpenAccount" not in line.get("method", "")]
    assert {line["event"] for line in lines} == {"callback redelivered", "rpc"}
    assert {line["provider"] for line in lines} == {PROVIDER}
    assert len({line["request_id"] for line in lines}) == 1
