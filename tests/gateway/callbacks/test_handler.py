"""Authentication over HTTP, and the secrecy of callback keys."""

import logging
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from adapters.contract import (
    Account,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    HttpReply,
    HttpRequest,
    PartialCallback,
)
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.telemetry.metrics import Metrics
from tests.gateway.callbacks.harness import (
    EXPIRED,
    KYREN_EU,
    KYREN_KEY,
    MONACO,
    MONACO_KEY,
    MONACO_NEXT_KEY,
    SUCCESS,
    CallbackEndpoint,
    CallbackHarness,
    HarnessOptions,
    altered,
    open_harness,
)
from tests.support.results import RESULT

LOOPBACK = ip_network("127.0.0.0/8")


def request(path: str, method: str = "POST", *headers: str, body: bytes = b"{}") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def undated(reply: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]+", b"Date:", reply)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "POST"),
        ("/", "OPTIONS"),
        ("*", "OPTIONS"),
        ("/callbacks", "POST"),
        ("/callbacks/monaco", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/", "POST"),
        (f"/callbacks/unknown/{MONACO_KEY}/V4/Result", "POST"),
        ("/callbacks/monaco/wrong/V4/Result", "POST"),
        ("/callbacks/monaco//V4/Result", "POST"),
        ("/callbacks/monaco/%FF%ED%A0%80/V4/Result", "POST"),
        (f"/callbacks/monaco/{KYREN_KEY}/V4/Result", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Balance", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Bet", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Refund", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/EndRound", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/v1/Result", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4%2FRes%2Fult", "POST"),
        (f"/callbacks//monaco/{MONACO_KEY}/V4/Result", "POST"),
        (f"/elsewhere/monaco/{MONACO_KEY}/V4/Result", "POST"),
        (f"/x/callbacks/monaco/{MONACO_KEY}/V4/Result", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "GET"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "PUT"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "PATCH"),
        (f"/callbacks/kyren-eu/{KYREN_KEY}/v1/Result", "DELETE"),
    ],
)
async def test_unauthenticated_callers_and_unknown_paths_get_the_same_404(
    harness: CallbackHarness, path: str, method: str
) -> None:
    """A wrong URL, provider, key, path or method gets the same bytes, and nothing is recorded."""
    expected = b"HTTP/1.1 404 Not Found\r\nServer: session-gateway\r\n"
    assert (await harness.raw(request("/nowhere"))).startswith(expected)
    assert undated(await harness.raw(request(path, method))) == undated(await harness.raw(request("/nowhere")))
    assert not await harness.journal()


@pytest.mark.parametrize("broken", ["FETCH {} HTTP/1.1", "POST {} HTTP/9.z", "POST {} HTTP/1.1\r\n bad"])
async def test_invalid_http_gets_the_same_400(harness: CallbackHarness, broken: str) -> None:
    """Invalid HTTP is refused before the key is checked: the bytes are the same for a right and a wrong key."""
    paths = (MONACO.path("Result"), "/callbacks/monaco/wrong/V4/Result", "/nowhere")
    replies = {undated(await harness.raw(f"{broken.format(path)}\r\nHost: x\r\n\r\n".encode())) for path in paths}
    (reply,) = replies
    assert reply.startswith(b"HTTP/1.0 400 Bad Request\r\nServer: session-gateway\r\n")
    assert reply.endswith(b"\r\n\r\n")


async def test_a_caller_outside_the_allow_list_gets_the_same_404(tmp_path: Path) -> None:
    """An address outside the allow-list gets the reply of an unknown path, and other providers are not affected."""
    async with open_harness(tmp_path, HarnessOptions(sources=(ip_network("192.0.2.0/24"),))) as harness:
        unknown = undated(await harness.raw(request("/nowhere")))
        path = MONACO.path("SessionExpired")
        assert undated(await harness.raw(request(path))) == unknown
        assert undated(await harness.raw(request(path, "POST", "X-Forwarded-For: 192.0.2.1"))) == unknown
        assert (await harness.deliver(KYREN_EU.path("SessionExpired"), EXPIRED)).json == SUCCESS


async def test_a_trusted_proxy_reports_the_caller_s_address(tmp_path: Path) -> None:
    """Allow-list and journal use the address that the trusted proxy saw, not what the caller wrote left of it."""
    options = HarnessOptions(sources=(ip_network("192.0.2.0/24"),), trusted_proxies=(LOOPBACK,))
    async with open_harness(tmp_path, options) as harness:
        path = MONACO.path("SessionExpired")
        forged = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7"}
        assert (await harness.deliver(path, EXPIRED, forged)).status == 404
        genuine = {"X-Forwarded-For": "198.51.100.7, ::ffff:192.0.2.1"}
        assert (await harness.deliver(path, EXPIRED, genuine)).json == SUCCESS
        assert [line.peer for line in await harness.journal()] == ["192.0.2.1"]


async def test_two_keys_are_valid_at_once(harness: CallbackHarness) -> None:
    """During a rotation both keys are accepted, for a repeated callback too."""
    for key in (MONACO_KEY, MONACO_NEXT_KEY):
        path = CallbackEndpoint("monaco", key, "V4").path("SessionExpired")
        assert (await harness.deliver(path, EXPIRED)).json == SUCCESS
    assert len(await harness.events()) == 1


async def test_replies_name_no_versions(harness: CallbackHarness) -> None:
    """Neither a reply nor a refusal of invalid HTTP shows what the server is made of."""
    for sent in (request(MONACO.path("Result")), request("/nowhere"), b"NONSENSE\r\n\r\n"):
        reply = await harness.raw(sent)
        assert b"Server: session-gateway\r\n" in reply
        assert not re.search(rb"aiohttp|python", reply, re.IGNORECASE)


async def test_a_key_is_in_no_journal_and_no_log(
    harness: CallbackHarness, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key is in no log and in no line of the journal, wherever a caller writes it."""
    caplog.set_level(logging.DEBUG)
    await harness.open_account()
    headers = {"X-Original-URI": MONACO.path("Result"), "Referer": f"https://x/{MONACO_KEY}"}
    with structlog.testing.capture_logs() as logged:
        await harness.deliver(MONACO.path("Result"), RESULT, headers)
        await harness.deliver(MONACO.path("Result"), {**RESULT, "reference": MONACO_KEY}, headers)
        await harness.deliver(MONACO.path("Result"), {"reference": "r", "gameName": MONACO_KEY}, headers)
        await harness.deliver(MONACO.path("Result"), MONACO_KEY.encode(), headers)
        await harness.deliver(MONACO.path("Bet"), RESULT, headers)
        await harness.deliver(f"/callbacks/{MONACO_KEY}/monaco/V4/Result", RESULT, headers)
        await harness.raw(b"POST /callbacks/monaco/" + MONACO_KEY.encode() + b"/V4/Result HTTP/9.z\r\n\r\n")
        await harness.raw(b"POST /callbacks/monaco/" + MONACO_KEY.encode() * 500 + b" HTTP/1.1\r\n\r\n")
        other = harness.lock()
        await harness.deliver(MONACO.path("Result"), {**RESULT, "reference": "r2"}, headers)
        other.close()

    assert len(logged) >= 8
    assert MONACO_KEY not in repr(logged)
    assert MONACO_KEY not in caplog.text + "".join(capsys.readouterr())
    assert MONACO_KEY not in repr([(line, line.request.body) for line in await harness.journal()])


def quoting_refusal(account: Account[Any], request: HttpRequest) -> NoReturn:
    readable = PartialCallback(reference="r", user_id="421")
    raise CallbackRefused(CallbackFault.FIELD_MALFORMED, f"got {MONACO_KEY}", readable=readable)


def quoting_reply(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (("X-Key", MONACO_KEY),), b'{"error":57,"description":"' + MONACO_KEY.encode() + b'"}')


async def test_a_key_that_an_adapter_quotes_is_masked(tmp_path: Path) -> None:
    """An adapter's error text and reply are masked in the journal, the log and the item."""
    quoting = altered(LUCKYMONACO, decode=quoting_refusal, encode_reply=quoting_reply)
    async with open_harness(tmp_path, HarnessOptions(adapter=quoting)) as harness:
        with structlog.testing.capture_logs() as logged:
            assert MONACO_KEY.encode() in (await harness.deliver(MONACO.path("Result"), RESULT)).body
        kept = [*await harness.journal(), *await harness.items(), *logged]
        assert len(kept) == 3
        assert MONACO_KEY not in repr(kept)


async def test_callbacks_are_counted_by_verdict(tmp_path: Path) -> None:
    """The metrics count callbacks by provider, path and verdict, and no unauthenticated callers."""
    metrics = Metrics()
    async with open_harness(tmp_path, HarnessOptions(metrics=metrics)) as harness:
        for body in (EXPIRED, EXPIRED, {}):
            await harness.deliver(MONACO.path("SessionExpired"), body)
        await harness.deliver("/callbacks/monaco/wrong/V4/Result", RESULT)
    counted = [line for line in metrics.render()[0].decode().splitlines() if "callbacks_total{" in line]
    assert sorted(counted) == [
        f'session_gateway_callbacks_total{{answer="{answer}",path="V4/SessionExpired",provider="monaco"}} {count}'
        for answer, count in (("ACCEPTED", 2.0), ("FIELD_MISSING", 1.0))
    ]


SENT_AT = datetime.fromtimestamp(1482429190, UTC) + timedelta(milliseconds=374)
"""The timestamp of the example."""


@pytest.mark.parametrize("ahead_s", [0, 100])
async def test_the_age_of_a_credited_result_is_measured(tmp_path: Path, ahead_s: int) -> None:
    """Once for each credit: the time since its timestamp; 0 where that is ahead, and nothing where it is no time."""
    metrics = Metrics()
    sent_at = datetime.now(UTC) - timedelta(seconds=100 - 2 * ahead_s)
    async with open_harness(tmp_path, HarnessOptions(metrics=metrics)) as harness:
        await harness.open_account()
        for reference, timestamp in (("r1", str(int(sent_at.timestamp() * 1000))), ("r2", "9" * 40), ("r3", "soon")):
            for _ in range(2):
                body = {**RESULT, "reference": reference, "timestamp": timestamp}
                assert (await harness.deliver(MONACO.path("Result"), body)).json["error"] == 0
    exposed = metrics.render()[0].decode()
    assert 'session_gateway_result_age_seconds_count{provider="monaco"} 1.0' in exposed
    (age,) = re.findall(r'session_gateway_result_age_seconds_sum{provider="monaco"} (.*)', exposed)
    assert (float(age) == 0) == (ahead_s > 0)
    assert float(age) < 1000


async def test_a_callback_is_one_line_in_the_log(harness: CallbackHarness) -> None:
    """The log line of a callback has its journal id, provider, path, peer, verdict, reference, error and duration."""
    await harness.open_account()
    with structlog.testing.capture_logs() as logged:
        await harness.deliver(MONACO.path("Result"), RESULT)
    reply: list[dict[str, Any]] = [dict(line) for line in logged]
    (line,) = reply
    (kept,) = await harness.journal()
    assert line.pop("duration_ms") > 0
    assert line.pop("age_s") == round((kept.started_at - SENT_AT).total_seconds(), 3)
    assert line == {
        "event": "callback",
        "log_level": "info",
        "exchange_id": kept.id,
        "provider": "monaco",
        "path": "V4/Result",
        "peer": "127.0.0.1",
        "verdict": "CREDITED",
        "reference": RESULT["reference"],
        "error": "",
    }
