"""A gateway's process whose configuration changes while it serves."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from gateway.v1.session_service_pb2 import CloseSessionRequest, CloseSessionResponse
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import RpcFailure, configuration, failure_of
from tests.support.process import Serving, serving


@dataclass(frozen=True)
class Reloadable:
    """A gateway's process, and its configuration."""

    config: Path
    serving: Serving
    channel: grpc.aio.Channel

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        whole = self.config.with_suffix(".log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    async def logged(self, event: str, times: int = 1) -> None:
        """Wait until an event was logged that many times."""
        async with asyncio.timeout(60):
            while [line["event"] for line in self.lines()].count(event) < times:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)

    def reload_results(self) -> list[dict[str, Any]]:
        """What it has said to SIGHUP so far."""
        return [
            line for line in self.lines() if line["event"].startswith(("configuration reloaded", "configuration not"))
        ]

    async def send_sighup(self, answers: int = 1) -> list[dict[str, Any]]:
        """Send SIGHUP, and wait for that many answers to it."""
        before = len(self.reload_results())
        self.serving.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while len(self.reload_results()) < before + answers:  # noqa: ASYNC110 - nothing of another process could wake us
                await asyncio.sleep(0.01)
        return self.reload_results()[before:]

    async def reload(self, *sections: str, **more: str) -> dict[str, Any]:
        """Write another configuration, and have it reloaded; returns the log line of it."""
        self.write(*sections, **more)
        (line,) = await self.send_sighup()
        return line

    def write(self, *sections: str, **more: str) -> None:
        """Write another configuration."""
        configuration(self.config.parent, *sections, **more)

    async def close(self, provider: str = "lucky", within: float | None = 10, **fields: Any) -> CloseSessionResponse:
        """End a player's sessions."""
        request = CloseSessionRequest(provider=provider, user_id="421", **fields)
        return await SessionServiceStub(self.channel).CloseSession(request, timeout=within)

    async def close_failure(self, provider: str = "lucky", within: float | None = 10, **fields: Any) -> RpcFailure:
        """A close that fails, as its caller sees it."""
        try:
            answer = await self.close(provider, within, **fields)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        raise AssertionError(f"it succeeded: {answer}")


@asynccontextmanager
async def reloadable(
    folder: Path, *sections: str, environ: Mapping[str, str] | None = None, **more: str
) -> AsyncIterator[Reloadable]:
    """Start a gateway with these sections."""
    config = configuration(folder, *sections, **more)
    async with (
        serving(config, environ=environ) as process,
        aio.insecure_channel(process.ready_message["grpc"]) as channel,
    ):
        yield Reloadable(config, process, channel)
