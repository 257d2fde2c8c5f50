"""Logs: a gateway whose standard error nobody reads credits, answers and stops as any other."""

import asyncio
import json
import os
import signal
from time import monotonic

import aiohttp

from tests.stress.figures import Figures, at_least, at_most, exactly, stated, timed
from tests.stress.ledger import audit
from tests.stress.processes import (
    SERVE,
    Served,
    StressEnvironment,
    kill_process,
    open_accounts,
    process_environ,
)
from tests.stress.processes import serving as ready
from tests.stress.sending import Load, provider


async def unread_log(environment: StressEnvironment, *, lines: int = 100_000) -> Figures:
    """Log this many lines into a pipe that nobody reads, most of them of Results that are credited."""
    url = await environment.database()
    config = environment.configure(url)
    config.write_text(config.read_text().replace('level = "error"', 'level = "info"'))
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *SERVE,
        *("--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=writing,
        env=process_environ(),
    )
    os.close(writing)
    try:
        gateway = await ready(process, config)
        await open_accounts(gateway.grpc)
        async with provider(lambda: [gateway.callbacks]) as sender, aiohttp.ClientSession() as http:
            async with Load(sender).running() as load:
                longest_s, logged = 0.0, 0.0
                while logged < lines:
                    await load.more(100)
                    begun = monotonic()
                    async with http.get(f"http://{gateway.admin}/healthz") as answer:
                        assert answer.status == 200
                    longest_s = max(longest_s, monotonic() - begun)
                    logged = sum(load.answers.values())  # one line each
            dropped = await _dropped(http, gateway)
        begun = monotonic()
        process.send_signal(signal.SIGTERM)
        code = await gateway.ended()
        stopping_s = monotonic() - begun
        with os.fdopen(reading, "rb") as unread:
            kept = unread.read().splitlines()
    finally:
        await kill_process(process)
    # The last line that was written into the full pipe is cut off by the end of the process.
    whole = [json.loads(line) for line in kept[:-1]]
    return (
        at_least("lines logged", lines, logged),
        stated("... that the pipe took", len(whole)),
        stated("... dropped and counted before the stop", dropped),
        exactly("deliveries without a credit", 0, sum(load.answers.values()) - load.answers[0]),
        timed(at_most("longest /healthz", 0.5, longest_s, " s")),
        exactly("exit code after SIGTERM", 0, code),
        timed(at_most("seconds to stop", 5, stopping_s, " s")),
        *await audit(url, load.sent, load.acknowledged),
    )


async def _dropped(http: aiohttp.ClientSession, gateway: Served) -> int:
    async with http.get(f"http://{gateway.admin}/metrics") as answer:
        text = await answer.text()
    name = "session_gateway_log_lines_dropped_total{"
    return int(sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name)))
