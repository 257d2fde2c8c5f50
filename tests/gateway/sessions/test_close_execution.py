"""One execution of a close, and the callers that wait for it."""

import asyncio

from aiohttp import web

from adapters.contract import Certainty, CloseSession
from gateway.sessions.errors import GatewayError, Reason
from tests.gateway.sessions.harness import CloseHarness
from tests.support.actors import ADA
from tests.support.waiting import until


async def test_each_caller_receives_its_own_error(harness: CloseHarness) -> None:
    """Callers that share a failed execution raise equal errors, and not the same object."""
    release = asyncio.Event()

    async def fail_later(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    harness.provider.behaviour = fail_later
    deadline_at = asyncio.get_running_loop().time() + 60
    call = asyncio.create_task(harness.service.close("request-1", "lucky", CloseSession("u"), "", deadline_at, ADA))
    await harness.provider.arrived.wait()
    execution = harness.service.find("request-1")
    assert execution is not None
    waits = [asyncio.create_task(execution.wait(deadline_at)) for _ in range(2)]
    await until(lambda: execution.waiters == 3)
    release.set()
    errors = await asyncio.gather(call, *waits, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, GatewayError)
        assert (error.reason, error.certainty) == (Reason.PROVIDER_FAILED, Certainty.UNKNOWN)
    answered = errors[0]
    assert isinstance(answered, GatewayError)
    assert (answered.request_id, answered.provider) == ("request-1", "lucky")


async def test_an_execution_leaves_the_service_once_it_is_recorded(harness: CloseHarness) -> None:
    """The service finds an execution by its request_id while it is in progress, and not afterwards."""
    release = asyncio.Event()

    async def fail_later(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    harness.provider.behaviour = fail_later
    deadline_at = asyncio.get_running_loop().time() + 60
    call = asyncio.create_task(harness.service.close("request-1", "lucky", CloseSession("u"), "", deadline_at, ADA))
    await harness.provider.arrived.wait()
    assert harness.service.find("request-1") is not None
    assert harness.service.find("request-2") is None
    release.set()
    await harness.service.drain()
    assert harness.service.find("request-1") is None
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], GatewayError)
