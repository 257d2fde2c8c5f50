"""`session-gateway demo`: runs a gateway and simulated providers as processes, and checks each step as it is printed.

`runner` the demo · `steps` what it does · `examples` one account and call per adapter · `processes` the processes ·
`environment` the connections to them · `printer` the output
"""

from gateway.cli.demo.runner import run_demo

__all__ = ["run_demo"]
