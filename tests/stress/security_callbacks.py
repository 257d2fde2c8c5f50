"""Attacks on the callback listener by callers without a key, and by one provider against another.

Each runs in a separate process against a real gateway, while keyed Results are delivered on new connections.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum, unique
from math import isfinite
from pathlib import Path
from time import monotonic

import trustme
import uvloop

from tests.stress.figures import Figures, exactly, stated, timed
from tests.stress.processes import ROOT, StressEnvironment, open_accounts, running
from tests.stress.sending import CURRENCY, PROVIDER, USERS
from tests.support.gateway import callback_key, family_table
from tests.support.results import result_body

INTERVAL_S = 4.0
"""Between two requests of one keyless connection."""
ATTACKER = "attacker"
"""A provider, with a key, that sends large bodies."""
LARGE_BODY = b"[" + b"1," * (512 * 1024 - 1) + b"1]"
IN_TIME_S = 1.0
"""Seconds for a delivery, its connection included."""


@unique
class Attack(StrEnum):
    """What the attackers do."""

    KEYLESS = "keyless, asking every 4 s"
    KEYLESS_AT_ONCE = "keyless, asking as fast as they can"
    SILENT = "silent"
    HALF_HEAD = "half a head"
    LONG_HEAD = "heads of a megabyte"
    SMALL_CHUNKS = "keyless, chunks of one byte"
    TLS_STALLED = "TLS handshakes that stall"
    UNFINISHED_BODIES = "another provider's bodies without their end"
    LARGE_BODIES = "six 1 MiB bodies at once"


@dataclass(frozen=True, slots=True)
class SiegeFigures:
    """What became of the keyed deliveries during an attack."""

    attack: Attack
    sent: int
    credited: int
    """Answered as credited."""
    in_time: int
    """Those within IN_TIME_S."""
    worst_s: float

    def figures(self) -> Figures:
        """With what is required of them."""
        return (
            stated("attack", self.attack),
            exactly("deliveries answered as credited", self.sent, self.credited),
            timed(exactly("... within a second, its connection included", self.sent, self.in_time)),
            stated("... the longest", f"{self.worst_s:.3g} s"),
        )


async def siege(environment: StressEnvironment, *, attack: Attack, **sizes: int) -> Figures:
    """The figures of `besiege`, which takes the sizes."""
    return (await besiege(environment, attack, **sizes)).figures()


async def besiege(
    environment: StressEnvironment,
    attack: Attack,
    *,
    connections: int = 1000,
    deliveries: int = 185,
    seconds: float = 20.0,
) -> SiegeFigures:
    """Deliver Results at a steady rate while the attack runs from the same address."""
    tls = _Tls.create(environment.folder) if attack is Attack.TLS_STALLED else None
    path = environment.configure(await environment.database())
    keys = tls.section if tls else ""
    text = path.read_text().replace("[callbacks]", f"[callbacks]\nmax_body_bytes = {2 * 1024 * 1024}\n{keys}")
    path.write_text(text + family_table(ATTACKER, "luckymonaco", "http://127.0.0.1:9"))
    async with running(path) as gateway:
        await open_accounts(gateway.grpc)
        assert await _deliver(gateway.callbacks, "before", tls), "a delivery was refused before the attack"
        async with _attackers(gateway.callbacks, attack, connections):
            return await _deliveries(gateway.callbacks, attack, deliveries, seconds, tls)


@dataclass(frozen=True, slots=True)
class _Tls:
    """The TLS of a listener: its configuration, and a caller's context."""

    section: str
    context: ssl.SSLContext

    @classmethod
    def create(cls, folder: Path) -> "_Tls":
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        cert, key = folder / "siege-cert.pem", folder / "siege-key.pem"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return cls(f'tls = {{ cert = "{cert}", key = "{key}" }}\n', context)


async def _deliveries(address: str, attack: Attack, deliveries: int, seconds: float, tls: _Tls | None) -> SiegeFigures:
    began = monotonic()
    tasks = []
    for number in range(deliveries):
        await asyncio.sleep(max(0.0, began + seconds * number / deliveries - monotonic()))
        tasks.append(asyncio.create_task(_timed(_deliver(address, f"siege-{number}", tls))))
    took = await asyncio.gather(*tasks)
    in_time = sum(each <= IN_TIME_S for each in took)
    return SiegeFigures(attack, len(took), sum(map(isfinite, took)), in_time, max(took))


async def _timed(delivery: Awaitable[bool]) -> float:
    """Seconds until it was credited; infinite if it was not."""
    began = monotonic()
    try:
        async with asyncio.timeout(10):
            credited = await delivery
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        credited = False
    return monotonic() - began if credited else float("inf")


async def _deliver(address: str, reference: str, tls: _Tls | None) -> bool:
    """Deliver a Result on a new connection; whether it was credited."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls.context if tls else None)
    try:
        writer.write(_request(PROVIDER, result_body(reference, userId=USERS[0], currency=CURRENCY)))
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return bool(body) and json.loads(body)["error"] == 0
    finally:
        writer.close()


def _request(provider: str, body: bytes) -> bytes:
    line = f"POST /callbacks/{provider}/{callback_key(provider)}/V4/Result HTTP/1.1\r\nHost: gateway\r\n"
    return f"{line}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def _attackers(address: str, attack: Attack, connections: int) -> AsyncIterator[None]:
    """The attackers in a separate process, so that they do not delay the measuring one, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.stress.security_callbacks", address, attack.name, str(connections)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline(), "the attackers did not start"
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _keyless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pause_s: float = INTERVAL_S) -> None:
    while True:
        writer.write(b"POST /callbacks/monaco/wrong/V4/Result HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        if not await reader.read(1000):
            return
        await asyncio.sleep(pause_s)


async def _keyless_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _keyless(reader, writer, pause_s=0)


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _half_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /callbacks/monaco/wrong/V4/Result HTTP/1.1\r\nHost: x\r\nX-Endless: ")
    await reader.read()


async def _long_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /callbacks/monaco/wrong/V4/Result HTTP/1.1\r\nHost: x\r\n")
    writer.write((b"X-Filling: " + b"a" * 1000 + b"\r\n") * 1000)
    await reader.read()


async def _small_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /callbacks/monaco/wrong/V4/Result HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"1\r\n \r\n" * 20_000)
    await reader.read()


async def _tls_stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100)
    await reader.read()


async def _unfinished_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_request(ATTACKER, LARGE_BODY)[:-1])
    await reader.read()


async def _large_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_request(ATTACKER, LARGE_BODY))
    await reader.read()


_ATTACKERS: dict[Attack, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    Attack.KEYLESS: _keyless,
    Attack.KEYLESS_AT_ONCE: _keyless_at_once,
    Attack.SILENT: _silent,
    Attack.HALF_HEAD: _half_head,
    Attack.LONG_HEAD: _long_head,
    Attack.SMALL_CHUNKS: _small_chunks,
    Attack.TLS_STALLED: _tls_stalled,
    Attack.UNFINISHED_BODIES: _unfinished_body,
    Attack.LARGE_BODIES: _large_body,
}


async def _attack_forever(address: str, attack: Attack) -> None:
    """One attacker. It connects again at once when the gateway closes its connection."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.1)
            continue
        try:
            await _ATTACKERS[attack](reader, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()


async def _attack_apart(address: str, attack: Attack, connections: int) -> None:
    number = 6 if attack is Attack.LARGE_BODIES else connections
    tasks = [asyncio.create_task(_attack_forever(address, attack)) for _ in range(number)]
    await asyncio.sleep(1)
    sys.stdout.write("running\n")
    sys.stdout.flush()
    await asyncio.wait(tasks)


if __name__ == "__main__":
    uvloop.run(_attack_apart(sys.argv[1], Attack[sys.argv[2]], int(sys.argv[3])))
