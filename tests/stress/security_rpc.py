"""Attacks on the gRPC listener of a real gateway: /healthz is answered meanwhile, and memory stays bounded."""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic

import aiohttp

from gateway.config import GrpcServerKind
from tests.stress.figures import Figures, at_most, stated, timed
from tests.stress.http2_attacks import Attack
from tests.stress.processes import ROOT, Served, StressEnvironment, resident_mib, running

HEALTHZ_S = 0.3
"""Within which /healthz is answered during an attack."""
GROWTH_MIB = 128.0
"""What attackers on the gRPC listener may take in memory."""
JUNK = 12_000_000
PROBE_EVERY_S = 0.02
PROBE_TIMEOUT_S = 30.0
UNFINISHED_S = 4
"""How long unfinished requests are held."""


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """What one attack did to a gateway."""

    attack: str
    worst_healthz_s: float
    median_healthz_s: float
    grown_mib: float
    """The most that the gateway held during the attack, more than before it."""
    output: str
    """What the attacker reported."""
    bounded: bool = True
    """Whether the server can limit the memory."""

    def figures(self) -> Figures:
        """With what is required of them."""
        return (
            timed(at_most(f"{self.attack}: the longest /healthz", HEALTHZ_S, self.worst_healthz_s, " s")),
            at_most("... memory that it takes", GROWTH_MIB, self.grown_mib, " MiB")
            if self.bounded
            else stated("... memory that it takes, which this server cannot limit", f"{self.grown_mib:.3g} MiB"),
            stated("... the attacker", self.output),
        )


@asynccontextmanager
async def attacked_gateway(environment: StressEnvironment, kind: GrpcServerKind) -> AsyncIterator[Served]:
    """A gateway process with this gRPC server and default limits."""
    path = environment.configure(await environment.database())
    path.write_text(path.read_text().replace("[grpc]", f'[grpc]\nserver = "{kind}"'))
    async with running(path) as gateway:
        yield gateway


async def junk(gateway: Served, attack: Attack, octets: int = JUNK) -> AttackFigures:
    """One client that sends junk as fast as it can."""
    return await _measured(gateway, attack.value, gateway.grpc, attack.name, str(octets))


async def unfinished_requests(
    gateway: Served, connections: int = 40, requests: int = 16, size: int = 1_000_000, seconds: int = UNFINISHED_S
) -> AttackFigures:
    """Requests that are sent but for their last byte, and held."""
    name = f"{connections} x {requests} requests of {size} bytes without their end"
    arguments = map(str, (connections, requests, size, seconds))
    return await _measured(gateway, name, gateway.grpc, "unfinished", *arguments)


async def silent_probes(gateway: Served, connections: int = 1000, seconds: int = UNFINISHED_S) -> AttackFigures:
    """Connections to the admin listener that send nothing, and are opened again whenever they are closed."""
    name = f"{connections} silent connections to the admin listener"
    return await _measured(gateway, name, gateway.admin, "silent", str(connections), str(seconds))


async def security_rpc(environment: StressEnvironment, *, octets: int = JUNK) -> Figures:
    """Every attack, on a gateway with each of the gRPC servers."""
    figures: list[Figures] = []
    for kind in GrpcServerKind:
        for attack in Attack:
            environment.report(f"{kind}: {attack}")
            async with attacked_gateway(environment, kind) as gateway:
                figures.append((stated("server", kind), *(await junk(gateway, attack, octets)).figures()))
        for size in (1_000_000, 65_536):
            environment.report(f"{kind}: unfinished requests of {size} bytes")
            async with attacked_gateway(environment, kind) as gateway:
                measured = await unfinished_requests(gateway, size=size)
            # pygrpc-native compares a request with the limit once it is complete.
            measured = replace(measured, bounded=kind is GrpcServerKind.GRPCIO)
            figures.append((stated("server", kind), *measured.figures()))
    environment.report("silent connections to the admin listener")
    async with attacked_gateway(environment, GrpcServerKind.GRPCIO) as gateway:
        figures.append((await silent_probes(gateway)).figures())
    return tuple(figure for each in figures for figure in each)


async def _measured(gateway: Served, name: str, *arguments: str) -> AttackFigures:
    before = peak = resident_mib(gateway.pid)
    latencies = [await _healthz(gateway.admin)]
    attacker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.stress.http2_attacks",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        output = asyncio.create_task(attacker.communicate())
        while not output.done():
            latencies.append(await _healthz(gateway.admin))
            peak = max(peak, resident_mib(gateway.pid))
            await asyncio.wait({output}, timeout=PROBE_EVERY_S)
        said, _ = await output
    finally:
        if attacker.returncode is None:
            attacker.kill()
            await attacker.wait()
    latencies.append(await _healthz(gateway.admin))
    median = statistics.median(latencies)
    return AttackFigures(name, max(latencies), median, peak - before, said.decode().strip())


async def _healthz(admin: str) -> float:
    """Seconds of one probe, on a connection that it opens."""
    begun = monotonic()
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"http://{admin}/healthz") as response:
        assert response.status == 200
    return monotonic() - begun
