"""CloseSession, journal and idempotency durable, beside what is written or picked instead, which stores nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.environment import ENGINES, USERS, Ground
from bench.load.requests import CLOSE_SESSION, closes, json_closes
from bench.rounds import Drive, Pace, Row, Subject, at_full, at_less, calling, posting
from bench.servers import envoy

FLOOR = "floor"
"""grpc.aio and an aiohttp client, and nothing else."""
LEAN_FLOOR = "floor, our client"
"""The same with the gateway's own client: its own parts' terms."""
NATIVE = " native"
"""Served by pygrpc-native."""
BY_NATIVE = 'server = "native"'
"""Its line of [grpc]."""
FASTAPI = "FastAPI + httpx"
THREADS = "grpcio + requests"
ENVOY = "Envoy"
UNDER_WAY = 64


def closing(connections: int = 4) -> Drive:
    """CloseSession over gRPC."""
    return calling(CLOSE_SESSION, closes(), connections)


@asynccontextmanager
async def subjects(ground: Ground) -> AsyncIterator[list[Subject]]:
    """The floor, the gateway on each engine, and the others."""
    base_url = f"http://{ground.provider}"
    drive = closing()
    json_drive = posting("http", json_closes(), b'"outcome":"CLOSED"')
    envoy_drive = calling(envoy.CLOSE_SESSION, envoy.closes(ground.folder, USERS))
    starting = {
        FLOOR: (drive, ground.serving(FLOOR, "bench.servers.baseline", base_url)),
        LEAN_FLOOR: (drive, ground.serving(LEAN_FLOOR, "bench.servers.baseline", base_url, "lean")),
        **{engine: (drive, ground.gateway(engine)) for engine in ENGINES},
        **{f"{each}{NATIVE}": (drive, ground.gateway(each, NATIVE, grpc=BY_NATIVE)) for each in ENGINES},
        FASTAPI: (json_drive, ground.serving(FASTAPI, "bench.servers.fastapi_httpx", base_url)),
        THREADS: (drive, ground.serving(THREADS, "bench.servers.grpc_requests", base_url)),
        ENVOY: (envoy_drive, ground.serving(ENVOY, "bench.servers.envoy", ground.provider, str(ground.folder))),
    }
    async with AsyncExitStack() as stack:
        yield [
            Subject(await stack.enter_async_context(server), how)
            for name, (how, server) in starting.items()
            if ground.wants(name)
        ]


async def measure(ground: Ground, pace: Pace) -> list[Row]:
    """As fast as each can, then with less to do."""
    async with subjects(ground) as under_test:
        full = await at_full(under_test, UNDER_WAY, pace)
        return full + await at_less(under_test, full, pace)
