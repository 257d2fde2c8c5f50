"""Waiting for what happens in its own time."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable


async def until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until it holds. Raises TimeoutError where it does not come to that."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if await answer if isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)
