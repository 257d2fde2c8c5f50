"""A server in PostgreSQL's place that offers no TLS receives neither a password nor a user's name."""

import asyncio
import sys

from tests.gateway.store.postgres.tls_front import tls_front
from tests.stress.figures import Figures, at_least, exactly
from tests.stress.processes import SERVE, StressEnvironment, kill_process, launch
from tests.support.waiting import until

COMMANDS = (SERVE, (sys.executable, "-m", "gateway", "migrate"))
HOST = "127.1"
"""A name, and so not a local one by the gateway's rule, which leads to this host without a name server."""
PASSWORD = "canary-of-the-database"
OPTIONS = ("", "?sslmode=require", "?sslmode=verify-full")
"""Without `sslmode`, the default for a server that is not local."""
ENDING_S = 60.0


async def security_postgres(environment: StressEnvironment) -> Figures:
    """Start what connects to a database, with each mode that requires TLS."""
    logs = []
    async with tls_front() as server:
        for option in OPTIONS:
            url = f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway{option}"
            logs += [await _log_of(environment, url, command) for command in COMMANDS]
        await until(lambda: not server.open)
    return (
        exactly(
            "processes that ended because the server has no TLS", len(logs), sum("has no TLS" in each for each in logs)
        ),
        exactly("... with the password in the log", 0, sum(PASSWORD in each for each in logs)),
        at_least("requests for TLS that the server received", len(logs), server.requests),
        exactly("connections that began without one", 0, server.unencrypted),
        exactly("bytes received after them", 0, len(server.received)),
    )


async def _log_of(environment: StressEnvironment, url: str, command: tuple[str, ...]) -> str:
    """The log of a process that must end because its database is not usable."""
    config = environment.configure(url)
    process = await launch(config, command)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), ENDING_S)
    finally:
        await kill_process(process)
    assert process.returncode, f"{config}: {command[-1]} did not fail"
    return output.decode() + config.with_suffix(".log").read_text()
