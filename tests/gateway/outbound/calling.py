"""A client as the gateway makes it, and the exchanges that the tests make with it."""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFailed, ProviderClient
from gateway.outbound.deadline import Deadline

ENOUGH = 30.0
"""Seconds that no test gets to."""
SOON = 0.3
"""Seconds until a deadline that is meant to pass."""
SECRET = "c951985e404309115"
CLOSE = HttpRequest(
    "POST",
    "/v1/CloseSession",
    query=(("token", SECRET),),
    headers=(("Authorization", f"Basic {SECRET}"), ("Content-Type", "application/json")),
    body=b'{"requestContent":{}}',
)


@asynccontextmanager
async def client(base_url: str, **bounds: float) -> AsyncIterator[ProviderClient]:
    made = ProviderClient(
        Endpoint(
            "acme",
            base_url,
            allow_private_addresses=True,
            connect_timeout_s=bounds.get("connect_timeout_s", ENOUGH),
            max_answer_bytes=int(bounds.get("max_answer_bytes", 65536)),
            connections=int(bounds.get("connections", 100)),
        )
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def exchange(client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = ENOUGH) -> HttpReply:
    return await client.send(request, Deadline.after(seconds))


async def failure(client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = ENOUGH) -> ExchangeFailed:
    """The failure of an exchange; its words name the place, and hold no secret."""
    with pytest.raises(ExchangeFailed) as failed:
        await exchange(client, request, seconds)
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    return failed.value
