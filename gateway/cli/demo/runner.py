"""The demo from its first process to its last: starts the processes, has the steps performed, says how it went."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from gateway.cli.demo.children import Started, started
from gateway.cli.demo.examples import Example
from gateway.cli.demo.printer import DemoPrinter, StepFailed
from gateway.cli.demo.processes import ChildFailed

Perform = Callable[[DemoPrinter, Sequence[Example], Started], Awaitable[None]]


async def run_demo(examples: Sequence[Example], faults: Mapping[str, str], stage: DemoPrinter) -> bool:
    """Show the main job; `faults` puts one into a simulator, by adapter. True if all of it was observed."""
    try:
        with tempfile.TemporaryDirectory(prefix="session-gateway-demo-") as folder:
            loading = asyncio.create_task(asyncio.to_thread(_load))
            async with started(examples, Path(folder), faults) as running:
                perform = await loading
                stage.print_header(running, examples)
                await perform(stage, examples, running)
    except StepFailed as failed:
        stage.failed(failed.step, str(failed))
        return False
    except ChildFailed as failed:
        stage.failed("starting and stopping the gateway and the simulated providers", str(failed))
        return False
    stage.succeeded()
    return True


def _load() -> Perform:
    """What the steps call with takes as long to load as the processes take to start: it is loaded meanwhile."""
    from gateway.cli.demo.steps import perform

    return perform
