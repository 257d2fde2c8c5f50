"""CloseSession, journal and idempotency durable, compared with other servers for the same job, which store nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.environment import NATIVE_SERVER, USERS, BenchEnvironment
from bench.load.requests import CLOSE_SESSION, closes, json_closes
from bench.rounds import Drive, Row, Subject, Timing, at_full, at_less, calling, posting
from bench.servers import envoy

BASELINE = "baseline"
"""grpc.aio and an aiohttp client, and nothing else."""
BASELINE_OWN_CLIENT = "baseline-own-client"
"""The same with the gateway's own HTTP client."""
NATIVE = "-native"
"""Behind an engine's name: the gateway with the native gRPC server."""
FASTAPI = "FastAPI + httpx"
THREADS = "grpcio + requests"
ENVOY = "Envoy"
IN_FLIGHT = 64


def closing(connections: int = 4) -> Drive:
    """CloseSession over gRPC."""
    return calling(CLOSE_SESSION, closes(), connections)


@asynccontextmanager
async def subjects(environment: BenchEnvironment) -> AsyncIterator[list[Subject]]:
    """The baseline, the gateway on each engine, and the others."""
    base_url = f"http://{environment.provider}"
    serving, gateway, engines = environment.serving, environment.gateway, environment.engines
    drive = closing()
    json_drive = posting("http", json_closes(), b'"outcome":"CLOSED"')
    envoy_drive = calling(envoy.CLOSE_SESSION, envoy.closes(environment.folder, USERS))
    servers = {
        BASELINE: (drive, serving(BASELINE, "bench.servers.baseline", base_url)),
        BASELINE_OWN_CLIENT: (drive, serving(BASELINE_OWN_CLIENT, "bench.servers.baseline", base_url, "own")),
        **{engine: (drive, gateway(engine)) for engine in engines},
        **{engine + NATIVE: (drive, gateway(engine, NATIVE, grpc_lines=NATIVE_SERVER)) for engine in engines},
        FASTAPI: (json_drive, serving(FASTAPI, "bench.servers.fastapi_httpx", base_url)),
        THREADS: (drive, serving(THREADS, "bench.servers.grpc_requests", base_url)),
        ENVOY: (envoy_drive, serving(ENVOY, "bench.servers.envoy", environment.provider, str(environment.folder))),
    }
    async with AsyncExitStack() as stack:
        yield [
            Subject(await stack.enter_async_context(server), how)
            for name, (how, server) in servers.items()
            if environment.wants(name)
        ]


async def measure(environment: BenchEnvironment, timing: Timing) -> list[Row]:
    """As fast as each can, then at lower rates."""
    async with subjects(environment) as under_test:
        full = await at_full(under_test, IN_FLIGHT, timing)
        return full + await at_less(under_test, full, timing)
