"""The main job, shown: a gateway and simulated providers as real processes, every line checked as it is printed."""

from gateway.demo.script import run_demo
from gateway.demo.stage import Stage

__all__ = ["Stage", "run_demo"]
