"""Runs an adapter's simulator as an HTTP server: a provider for the demo, for tests and for staging.

`server` the server · `faults`, `wire_faults` faults on demand · `delivery` its HTTP client · `control` its control over
HTTP · `run` the server as a process
"""

from gateway.simulation.faults import parse_fault
from gateway.simulation.run import run_simulator
from gateway.simulation.server import SimulatorHost

__all__ = ["SimulatorHost", "parse_fault", "run_simulator"]
