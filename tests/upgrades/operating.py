"""Gateways of this release and of the one before as processes, and what providers and operators do with them."""

import asyncio
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from gateway.v1 import session_service_pb2 as sessions
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import configuration, family_table
from tests.support.process import Serving

RELEASE_BEFORE = Path(__file__).with_name("release_before.zip")
"""The packages of the release before, as `git archive` gives them: see README.md in this folder."""

_MAIN = """
import sys
import gateway.cli
assert gateway.cli.__file__.startswith(sys.argv.pop(1)), gateway.cli.__file__
gateway.cli.main()
"""

MAX_START_S = 60


def release_before(folder: Path) -> Path:
    """The release before, unpacked: where Python finds its packages."""
    with zipfile.ZipFile(RELEASE_BEFORE) as packed:
        packed.extractall(folder / "release_before")
    return folder / "release_before"


@asynccontextmanager
async def serving_before(release: Path, config: Path) -> AsyncIterator[Serving]:
    """`session-gateway serve` of the release before; whatever is left of it is killed in the end."""
    log = config.with_suffix(".before.log")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _MAIN, str(release), "serve", "--config", str(config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(release)},
            cwd=release,
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), MAX_START_S)
        assert line, log.read_text()
        yield Serving(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def configured(folder: Path, *, base_url: str = "http://127.0.0.1:9", store: str = "") -> Path:
    """A configuration that both releases take, with one provider."""
    table = family_table("lucky", "luckymonaco", base_url)
    known = [line for line in table.splitlines() if not line.startswith("retry")]  # the one before knows no retries
    return configuration(folder, "\n".join(known), store=store)


async def close_session(gateway: Serving, request_id: str) -> sessions.CloseSessionResponse:
    """End a player's sessions."""
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        request = sessions.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="421")
        return await SessionServiceStub(channel).CloseSession(request, timeout=30)


async def events(gateway: Serving, count: int) -> list[tuple[str, str]]:
    """The first `count` events from the oldest kept, as (type, reference or request_id)."""
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel, asyncio.timeout(60):
        stream = SessionServiceStub(channel).WatchEvents(sessions.WatchEventsRequest())
        seen = []
        async for answer in stream:
            event = answer.event
            name = sessions.EventType.Name(event.type).removeprefix("EVENT_TYPE_")
            seen.append((name, event.reference or event.request_id))
            if len(seen) == count:
                break
        stream.cancel()
        return seen
