"""The fixture that fails blocking calls on the event loop: it finds them in the gateway's code, and only there."""

import asyncio
import time
from types import ModuleType

import pytest
from blockbuster import BlockingError

from tests.support.blocking import GATEWAY

_PLANTED = """
import time

def block():
    time.sleep(0)

async def block_the_loop():
    block()
"""


@pytest.fixture
def planted() -> ModuleType:
    """A module whose functions block, and whose file is in the gateway's package as far as Python knows."""
    module = ModuleType("gateway.planted")
    exec(compile(_PLANTED, f"{GATEWAY}/planted.py", "exec"), module.__dict__)  # noqa: S102 - the text is above
    return module


async def test_a_blocking_call_of_the_gateway_on_the_loop_fails(planted: ModuleType) -> None:
    """A coroutine of the gateway that sleeps raises, in the test's own task and in another one."""
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await planted.block_the_loop()
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await asyncio.create_task(planted.block_the_loop())


async def test_a_thread_of_the_gateway_may_block(planted: ModuleType) -> None:
    """What blocks on a thread holds up no loop."""
    await asyncio.to_thread(planted.block)


async def test_a_test_may_block(planted: ModuleType) -> None:
    """What a test does by itself, or by a plain function of the gateway, is not the gateway's."""
    time.sleep(0)  # noqa: ASYNC251 - this is the point
    planted.block()
