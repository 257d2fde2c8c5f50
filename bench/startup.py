"""From a process's start to its first answered call, and what it holds in memory then: the gateway beside an empty one.

The two start in turns. What asks is a plain socket that speaks just enough HTTP/2: the client must not be what is
measured.
"""

import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.environment import LISTENERS
from gateway.v1.wallet_service_pb2 import OpenAccountRequest, OpenAccountResponse

PROVIDER = """
[providers.monaco]
adapter = "luckymonaco"
base_url = "https://provider.invalid"
secure_login = "partner-1"
token = "bench-token-0123456789-0123456789-0123456789"
callback_keys = ["bench-0123456789-0123456789-0123456789"]
"""

METHOD = "/gateway.v1.WalletService/OpenAccount"
CALL = OpenAccountRequest(user_id="player-1", currency="USD", opening_balance="10.5")

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1


@dataclass(frozen=True)
class Start:
    """One start of one process."""

    wall_s: float
    """Seconds to the answer to its first call."""
    cpu_s: float
    """Processor time that it took for that, in user and system mode, all threads."""
    rss_mib: float
    """Memory that it holds then, shared libraries and all."""
    pss_mib: float
    """The same, with what it shares with other processes divided among them."""


@dataclass
class Starts:
    """What is started, and how its starts went."""

    name: str
    command: tuple[str, ...]
    each: list[Start] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """The gateway and the empty process: medians, and of the ratios the median of the pairs."""

    gateway: Start
    empty: Start
    wall_ratio: float
    cpu_ratio: float


def measure(*, rounds: int = 9) -> Comparison:
    """Start both in turns. Raises AssertionError for an answer that is not the one expected.

    One start of each goes before: it compiles its modules, as they are where it is installed, and makes its database.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config = Path(folder, "gateway.toml")
        config.write_text(LISTENERS.format(url=f"sqlite:///{folder}/gateway.db") + PROVIDER)
        gateway = Starts("gateway", ("-m", "gateway", "serve", "--config", str(config)))
        empty = Starts("empty", ("-m", "bench.empty_grpc"))
        for number in range(rounds + 1):
            for starts in (gateway, empty):
                start = started(starts.command, Path(folder, "compiled"))
                if number:
                    starts.each.append(start)
    pairs = list(zip(gateway.each, empty.each, strict=True))
    return Comparison(
        gateway=_median(gateway.each),
        empty=_median(empty.each),
        wall_ratio=statistics.median(ours.wall_s / theirs.wall_s for ours, theirs in pairs),
        cpu_ratio=statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in pairs),
    )


def started(command: Sequence[str], compiled: Path) -> Start:
    """Start a server, call it as soon as it says where it is, and kill it. Its compiled modules are in that folder."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environ, "PYTHONPYCACHEPREFIX": str(compiled)},
    )
    assert process.stdout is not None
    try:
        address = json.loads(process.stdout.readline())["grpc"]
        answer = call(address, METHOD, CALL.SerializeToString())
        wall_s = time.perf_counter() - begun
        assert OpenAccountResponse.FromString(answer).cash == CALL.opening_balance
        rss_mib, pss_mib = _memory(process.pid)
    finally:
        process.kill()
        process.stdout.close()
        # Of a process that is waited for, the system tells the processor time to the microsecond.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Start(wall_s, usage.ru_utime + usage.ru_stime, rss_mib, pss_mib)


def call(address: str, method: str, message: bytes) -> bytes:
    """One gRPC call on a connection of its own; answers the message. Raises AssertionError where there is none."""
    host, _, port = address.rpartition(":")
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(*header) for header in headers))
            + _frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message)
        )
        return _answer(connection)


def _answer(connection: socket.socket) -> bytes:
    body = b""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            content = stream.read(length)
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _DATA:
                body += content
            elif kind == _HEADERS and flags & _END_STREAM:
                break
    assert body, "the call was answered without a message"
    return body[5:]


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def _literal(name: str, value: str) -> bytes:
    """A header as HPACK writes it without a table; both must be shorter than 127 bytes."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _memory(pid: int) -> tuple[float, float]:
    """RSS and PSS, in MiB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        found[name] = int(value) / 1024
    return found["Rss:"], found["Pss:"]


def _median(starts: Sequence[Start]) -> Start:
    return Start(
        wall_s=statistics.median(start.wall_s for start in starts),
        cpu_s=statistics.median(start.cpu_s for start in starts),
        rss_mib=statistics.median(start.rss_mib for start in starts),
        pss_mib=statistics.median(start.pss_mib for start in starts),
    )


def report(found: Comparison) -> str:
    """The table."""
    lines = [f"{'process':<10} {'first answer ms':>16} {'processor ms':>13} {'RSS MiB':>8} {'PSS MiB':>8}"]
    lines += [
        f"{name:<10} {each.wall_s * 1e3:>16.0f} {each.cpu_s * 1e3:>13.0f} {each.rss_mib:>8.1f} {each.pss_mib:>8.1f}"
        for name, each in (("gateway", found.gateway), ("empty", found.empty))
    ]
    lines.append(f"{'ratio':<10} {found.wall_ratio:>16.2f} {found.cpu_ratio:>13.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(measure()))
