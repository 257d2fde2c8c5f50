"""Runs the demo: starts the processes, runs the steps, reports the result."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.cli.demo.examples import Example
from gateway.cli.demo.printer import DemoPrinter
from gateway.cli.demo.processes import ProcessFailed, run_processes
from gateway.cli.demo.steps import StepFailed, run_steps


async def run_demo(examples: Sequence[Example], faults: Mapping[str, str]) -> bool:
    """Run the demo; `faults` by adapter, for the simulators. Returns whether every step succeeded."""
    printer = DemoPrinter()
    try:
        with tempfile.TemporaryDirectory(prefix="session-gateway-demo-") as folder:
            async with run_processes(examples, Path(folder), faults) as addresses:
                printer.print_header(addresses, examples)
                await run_steps(printer, examples, addresses)
    except StepFailed as failed:
        printer.failed(failed.step, str(failed))
        return False
    except ProcessFailed as failed:
        printer.failed("start and stop the gateway and the simulated providers", str(failed))
        return False
    printer.succeeded()
    return True
