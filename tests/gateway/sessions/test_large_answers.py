"""A provider's large answer is decoded, masked and recorded while the event loop serves other calls."""

import asyncio
import threading
from typing import Any

import pytest

from adapters.contract import Account, Closed, HttpReply
from gateway.masking.mask import Mask
from gateway.sessions.close_service import SMALL_BYTES
from gateway.v1.session_service_pb2 import ListProvidersRequest
from tests.gateway.sessions.harness import CloseHarness, close_request
from tests.support.provider import SUCCESS, answering
from tests.support.waiting import until

LARGE = SUCCESS.ljust(SMALL_BYTES + 1)


def decoded_on(harness: CloseHarness, before: Any) -> list[threading.Thread]:
    """The threads that decode answers from now on; each calls `before` first."""
    close_call = harness.gateway.gateway.providers["lucky"].adapter.close_session
    assert close_call is not None
    threads = []

    def decode(account: Account[Any], reply: HttpReply) -> Closed:
        threads.append(threading.current_thread())
        before()
        return close_call.decode(account, reply)

    harness.replace_close_call(decode=decode)
    return threads


async def test_the_loop_runs_while_a_large_answer_is_decoded(harness: CloseHarness) -> None:
    """Decoding goes on until another call has been served."""
    decoding, served = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        loop.call_soon_threadsafe(decoding.set)
        assert served.wait(30)

    decoded_on(harness, wait)
    harness.provider.behaviour = answering(body=LARGE)
    large = harness.start(close_request())
    await decoding.wait()
    await harness.gateway.sessions.ListProviders(ListProvidersRequest(), timeout=30)
    served.set()
    await large


async def test_large_answers_of_one_provider_do_not_stop_another(harness: CloseHarness) -> None:
    """One is decoded at once, and the answer of another provider beside it."""
    decoding, served = threading.Event(), threading.Event()

    def wait() -> None:
        decoding.set()
        assert served.wait(30)

    threads = decoded_on(harness, wait)
    harness.provider.behaviour = answering(body=LARGE)
    queue = [harness.start(close_request()) for _ in range(4)]
    await until(decoding.is_set)
    await harness.call(close_request("other"))
    assert len(threads) == 1
    served.set()
    await asyncio.gather(*queue)


async def test_a_large_answer_is_masked_on_a_thread(harness: CloseHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a small one at once."""
    masked = []
    body = Mask.body

    def record(mask: Mask, data: bytes) -> bytes:
        masked.append((len(data) > SMALL_BYTES, threading.current_thread() is threading.main_thread()))
        return body(mask, data)

    monkeypatch.setattr(Mask, "body", record)
    for answer, on_loop in ((SUCCESS, True), (LARGE, False)):
        masked.clear()
        harness.provider.behaviour = answering(body=answer)
        request = close_request()
        await harness.call(request)
        assert (len(answer) > SMALL_BYTES, on_loop) in masked
        assert {on for _, on in masked} == {on_loop}
        assert await harness.recorded(request)


async def test_any_bug_of_an_adapter_on_a_thread_is_an_answer(harness: CloseHarness) -> None:
    """StopIteration too, which a future cannot hold."""

    def fail() -> None:
        raise StopIteration

    decoded_on(harness, fail)
    harness.provider.behaviour = answering(body=LARGE)
    assert (await harness.fails(close_request())).reason == "GATEWAY_ERROR"
