"""Waiting for a condition."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable


async def until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it holds. Raises TimeoutError; the limit only bounds a hang."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if await answer if isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)
