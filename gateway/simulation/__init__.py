"""Hosts a pure simulator as a real HTTP server: a provider for the demo, for tests and for a team's staging."""

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
from gateway.simulation.server import NowhereToDeliver, SimulatorHost

__all__ = [
    "DialectCode",
    "Drip",
    "Exchange",
    "Fault",
    "FaultUnknown",
    "Garbage",
    "Hang",
    "Huge",
    "NowhereToDeliver",
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
