"""Runs an adapter's simulator as an HTTP server: a provider for the demo, for tests and for staging.

`server` the server · `faults`, `wire_faults` faults on demand · `delivery` its HTTP client · `control` its control over
HTTP · `run` the server as a process
"""

from gateway.simulation.control import control_routes
from gateway.simulation.delivery import Exchange
from gateway.simulation.faults import (
    DialectCode,
    Drip,
    Fault,
    FaultUnknown,
    Garbage,
    Hang,
    Huge,
    Planned,
    Redirect,
    Reset,
    ResetPoint,
    Slow,
    Status,
    parse_fault,
)
from gateway.simulation.run import run_simulator
from gateway.simulation.server import CallbackUrlMissing, SimulatorHost

__all__ = [
    "CallbackUrlMissing",
    "DialectCode",
    "Drip",
    "Exchange",
    "Fault",
    "FaultUnknown",
    "Garbage",
    "Hang",
    "Huge",
    "Planned",
    "Redirect",
    "Reset",
    "ResetPoint",
    "SimulatorHost",
    "Slow",
    "Status",
    "control_routes",
    "parse_fault",
    "run_simulator",
]
