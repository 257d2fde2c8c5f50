"""Stress tests: money under storm, crash, restart and outage, and providers that fail, with real processes.

Each is a function that returns figures, each with what is required of it. `make stress-money`
runs them heavy and prints a table; the suite runs them small.
"""
