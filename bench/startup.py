"""The time from the start of a gateway's process to its first answered RPC, on a database that exists."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from bench.environment import LISTENERS, SQLITE, BenchEnvironment
from bench.results import Figure
from bench.rounds import Timing
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub

PROVIDER = """
[providers.monaco]
adapter = "luckymonaco"
base_url = "https://provider.invalid"
secure_login = "partner-1"
token = "bench-token-0123456789-0123456789-0123456789"
callback_keys = ["bench-0123456789-0123456789-0123456789"]
"""
ACCOUNT = OpenAccountRequest(user_id="player-1", currency="USD", opening_balance="10.5")
CALL_TIMEOUT_S = 10


async def measure(_environment: BenchEnvironment, timing: Timing) -> list[Figure]:
    """The median of several starts."""
    seconds = await asyncio.to_thread(seconds_to_first_answer, timing.rounds)
    return [Figure(SQLITE, "start to first answer", seconds * 1e3, "ms", 1)]


def seconds_to_first_answer(rounds: int) -> float:
    """The median over this many starts. One start before them compiles the modules and creates the database."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config = Path(folder, "gateway.toml")
        config.write_text(LISTENERS.format(url=f"sqlite:///{folder}/gateway.db") + PROVIDER)
        return statistics.median([_start(config) for _ in range(rounds + 1)][1:])


def _start(config: Path) -> float:
    """Start a gateway, call it when it prints its address, and kill it."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environ, "PYTHONPYCACHEPREFIX": str(config.parent / "compiled")},
    ) as process:
        try:
            assert process.stdout is not None
            with grpc.insecure_channel(json.loads(process.stdout.readline())["grpc"]) as channel:
                account = WalletServiceStub(channel).OpenAccount(ACCOUNT, timeout=CALL_TIMEOUT_S)
            seconds = time.perf_counter() - began
            assert account.cash == ACCOUNT.opening_balance
            return seconds
        finally:
            process.kill()


if __name__ == "__main__":
    print(f"{seconds_to_first_answer(Timing.rounds) * 1e3:.0f} ms from start to first answer")
