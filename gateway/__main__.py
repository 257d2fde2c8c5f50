"""`python -m gateway`, the same as `session-gateway`."""

from gateway.cli import main

main()
