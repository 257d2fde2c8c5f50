"""Proofs of money: what happens to balances under storm, crash, restart and outage, with real processes and databases.

Each proof is a function that does it for real and returns figures beside what is demanded of them. `make stress-money`
runs them heavy and prints a table; the suite runs them small.
"""
