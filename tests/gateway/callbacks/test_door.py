"""The way in: what a stranger gets, and where the key must never appear."""

import logging
import re
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
    Doorway,
    Furnishing,
    House,
    altered,
    open_house,
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
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result/", "POST"),
        (f"/elsewhere/monaco/{MONACO_KEY}/V4/Result", "POST"),
        (f"/x/callbacks/monaco/{MONACO_KEY}/V4/Result", "POST"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "GET"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "PUT"),
        (f"/callbacks/monaco/{MONACO_KEY}/V4/Result", "PATCH"),
        (f"/callbacks/kyren-eu/{KYREN_KEY}/v1/Result", "DELETE"),
    ],
)
async def test_whoever_has_no_business_here_gets_the_same_404(house: House, path: str, method: str) -> None:
    """Wrong URL, provider, key, path or method: byte for byte one answer, and nothing is kept."""
    expected = b"HTTP/1.1 404 Not Found\r\nServer: session-gateway\r\n"
    assert (await house.raw(request("/nowhere"))).startswith(expected)
    assert undated(await house.raw(request(path, method))) == undated(await house.raw(request("/nowhere")))
    assert not await house.journal()


@pytest.mark.parametrize("broken", ["FETCH {} HTTP/1.1", "POST {} HTTP/9.z", "POST {} HTTP/1.1\r\n bad"])
async def test_what_is_not_http_gets_the_same_400(house: House, broken: str) -> None:
    """Bad HTTP is refused before any key is looked at: the same bytes whether the key is right or wrong."""
    paths = (MONACO.path("Result"), "/callbacks/monaco/wrong/V4/Result", "/nowhere")
    replies = {undated(await house.raw(f"{broken.format(path)}\r\nHost: x\r\n\r\n".encode())) for path in paths}
    (reply,) = replies
    assert reply.startswith(b"HTTP/1.0 400 Bad Request\r\nServer: session-gateway\r\n")
    assert reply.endswith(b"\r\n\r\n")


async def test_a_caller_from_elsewhere_gets_the_same_404(tmp_path: Path) -> None:
    """An address outside the allow-list is told nothing more than a stranger; other providers are not concerned."""
    async with open_house(tmp_path, Furnishing(sources=(ip_network("192.0.2.0/24"),))) as house:
        unknown = undated(await house.raw(request("/nowhere")))
        path = MONACO.path("SessionExpired")
        assert undated(await house.raw(request(path))) == unknown
        assert undated(await house.raw(request(path, "POST", "X-Forwarded-For: 192.0.2.1"))) == unknown
        assert (await house.deliver(KYREN_EU.path("SessionExpired"), EXPIRED)).json == SUCCESS


async def test_a_caller_behind_a_trusted_proxy_is_known_by_its_own_address(tmp_path: Path) -> None:
    """Allow-list and journal go by what the trusted proxy saw, not by what the caller wrote left of it."""
    furnishing = Furnishing(sources=(ip_network("192.0.2.0/24"),), trusted_proxies=(LOOPBACK,))
    async with open_house(tmp_path, furnishing) as house:
        path = MONACO.path("SessionExpired")
        forged = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7"}
        assert (await house.deliver(path, EXPIRED, forged)).status == 404
        genuine = {"X-Forwarded-For": "198.51.100.7, ::ffff:192.0.2.1"}
        assert (await house.deliver(path, EXPIRED, genuine)).json == SUCCESS
        assert [line.peer for line in await house.journal()] == ["192.0.2.1"]


async def test_two_keys_are_valid_at_once(house: House) -> None:
    """While a key is replaced both must open, for one callback said again too."""
    for key in (MONACO_KEY, MONACO_NEXT_KEY):
        path = Doorway("monaco", key, "V4").path("SessionExpired")
        assert (await house.deliver(path, EXPIRED)).json == SUCCESS
    assert len(await house.events()) == 1


async def test_answers_name_no_versions(house: House) -> None:
    """Neither an answer nor a refusal of bad HTTP may tell what the server is made of."""
    for sent in (request(MONACO.path("Result")), request("/nowhere"), b"NONSENSE\r\n\r\n"):
        reply = await house.raw(sent)
        assert b"Server: session-gateway\r\n" in reply
        assert not re.search(rb"aiohttp|python", reply, re.IGNORECASE)


async def test_a_key_shows_neither_in_the_journal_nor_in_a_log(
    house: House, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is done with a key, it must be in no log, no line of the journal, and nowhere in the database."""
    caplog.set_level(logging.DEBUG)
    await house.open_account()
    headers = {"X-Original-URI": MONACO.path("Result"), "Referer": f"https://x/{MONACO_KEY}"}
    with structlog.testing.capture_logs() as logged:
        await house.deliver(MONACO.path("Result"), RESULT, headers)
        await house.deliver(MONACO.path("Result"), {**RESULT, "reference": MONACO_KEY}, headers)
        await house.deliver(MONACO.path("Result"), {"reference": "r", "gameName": MONACO_KEY}, headers)
        await house.deliver(MONACO.path("Result"), MONACO_KEY.encode(), headers)
        await house.deliver(MONACO.path("Bet"), RESULT, headers)
        await house.deliver(f"/callbacks/{MONACO_KEY}/monaco/V4/Result", RESULT, headers)
        await house.raw(b"POST /callbacks/monaco/" + MONACO_KEY.encode() + b"/V4/Result HTTP/9.z\r\n\r\n")
        await house.raw(b"POST /callbacks/monaco/" + MONACO_KEY.encode() * 500 + b" HTTP/1.1\r\n\r\n")
        other = house.lock()
        await house.deliver(MONACO.path("Result"), {**RESULT, "reference": "r2"}, headers)
        other.close()

    assert len(logged) >= 8
    assert MONACO_KEY not in repr(logged)
    assert MONACO_KEY not in caplog.text + "".join(capsys.readouterr())
    assert MONACO_KEY not in repr([(line, line.request.body) for line in await house.journal()])


def quoting_refusal(account: Account[Any], request: HttpRequest) -> NoReturn:
    readable = PartialCallback(reference="r", user_id="421")
    raise CallbackRefused(CallbackFault.FIELD_MALFORMED, f"got {MONACO_KEY}", readable=readable)


def quoting_reply(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (("X-Key", MONACO_KEY),), b'{"error":57,"description":"' + MONACO_KEY.encode() + b'"}')


async def test_not_even_an_adapter_that_quotes_the_key_gets_it_kept(tmp_path: Path) -> None:
    """What an adapter says of a callback is masked before it is journalled, logged or made an item."""
    quoting = altered(LUCKYMONACO, decode=quoting_refusal, encode_reply=quoting_reply)
    async with open_house(tmp_path, Furnishing(adapter=quoting)) as house:
        with structlog.testing.capture_logs() as logged:
            assert MONACO_KEY.encode() in (await house.deliver(MONACO.path("Result"), RESULT)).body
        kept = [*await house.journal(), *await house.items(), *logged]
        assert len(kept) == 3
        assert MONACO_KEY not in repr(kept)


async def test_callbacks_are_counted_by_what_they_came_to(tmp_path: Path) -> None:
    """The metrics count each callback under its provider, its path and its verdict, and strangers not at all."""
    metrics = Metrics()
    async with open_house(tmp_path, Furnishing(metrics=metrics)) as house:
        for body in (EXPIRED, EXPIRED, {}):
            await house.deliver(MONACO.path("SessionExpired"), body)
        await house.deliver("/callbacks/monaco/wrong/V4/Result", RESULT)
    counted = [line for line in metrics.render()[0].decode().splitlines() if "callbacks_total{" in line]
    assert sorted(counted) == [
        f'session_gateway_callbacks_total{{answer="{answer}",path="V4/SessionExpired",provider="monaco"}} {count}'
        for answer, count in (("ACCEPTED", 2.0), ("FIELD_MISSING", 1.0))
    ]


async def test_a_callback_is_one_line_in_the_log(house: House) -> None:
    """The log says of each callback whose it was, which, what it came to, and how long it took."""
    await house.open_account()
    with structlog.testing.capture_logs() as logged:
        await house.deliver(MONACO.path("Result"), RESULT)
    said: list[dict[str, Any]] = [dict(line) for line in logged]
    (line,) = said
    (kept,) = await house.journal()
    assert line.pop("duration_ms") > 0
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
