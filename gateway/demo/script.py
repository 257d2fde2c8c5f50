"""The demo from its first process to its last: starts the world, goes through the steps, says how it went."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from aiohttp import ClientError

from gateway.app.example import Example
from gateway.demo.process import ChildFailed
from gateway.demo.stage import Stage
from gateway.demo.steps import CALL_S, NotObserved, steps
from gateway.demo.world import world


async def run_demo(examples: Sequence[Example], faults: Mapping[str, str], stage: Stage) -> bool:
    """Show the main job; `faults` puts one into a simulator, by adapter. True if all of it was observed."""
    step = "starting the gateway and the simulated providers"
    try:
        with tempfile.TemporaryDirectory(prefix="session-gateway-demo-") as folder:
            async with world(examples, Path(folder), faults) as running:
                stage.curtain(running)
                for step, act in steps(running):
                    stage.step(step)
                    async with asyncio.timeout(4 * CALL_S):
                        await act(stage, running)
                step = "stopping"
    except (NotObserved, ChildFailed, ClientError, grpc.aio.AioRpcError, TimeoutError) as error:
        stage.failed(step, _told(error))
        return False
    stage.succeeded()
    return True


def _told(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"the call failed with {error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
