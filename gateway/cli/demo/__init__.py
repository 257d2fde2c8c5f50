"""The main job, shown: a gateway and simulated providers as real processes, every line checked as it is printed."""

from gateway.cli.demo.printer import DemoPrinter
from gateway.cli.demo.runner import run_demo

__all__ = ["DemoPrinter", "run_demo"]
