"""Requests that two servers could read differently, over raw sockets against a gateway process."""

import asyncio
import re
from contextlib import suppress

from tests.stress.figures import Figures, at_least, exactly, none_of
from tests.stress.processes import StressEnvironment, open_accounts, running
from tests.stress.security_bodies import TRACEBACK
from tests.stress.sending import PROVIDER, win
from tests.support.gateway import callback_key
from tests.support.smuggling import corpus

CLOSED_S = 30.0
"""Only bounds a hang: the gateway ends every connection before."""
PATH = f"/callbacks/{PROVIDER}/{callback_key(PROVIDER)}/V4/Result"


async def security_smuggling(environment: StressEnvironment) -> Figures:
    """Send the corpus, with a right key, each on a separate connection. Each has a good request hidden at its end."""
    sent = corpus(PATH, win(1).body())
    config = environment.configure(await environment.database())
    config.write_text(config.read_text().replace("[callbacks]", "[callbacks]\nreceive_timeout_s = 0.5"))
    async with running(config) as gateway:
        await open_accounts(gateway.grpc)
        received = await asyncio.gather(*(_until_closed(gateway.callbacks, each) for each in sent.values()))
    answers = {name: _statuses(answer) for name, answer in zip(sent, received, strict=True) if answer is not None}
    log = config.with_suffix(".log").read_text(errors="replace")
    return (
        exactly("requests after which the connection was closed", len(sent), len(answers)),
        none_of("... answered more than once", [name for name, seen in answers.items() if len(seen) > 1]),
        none_of("... answered HTTP 5xx", [name for name, seen in answers.items() if any(each >= 500 for each in seen)]),
        at_least("... answered", 1, sum(map(bool, answers.values()))),
        exactly("tracebacks in the log", 0, log.count(TRACEBACK)),
    )


async def _until_closed(address: str, request: bytes) -> bytes | None:
    """What the gateway answers until it closes the connection; None where it does not."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = bytearray()
    try:
        writer.write(request)
        async with asyncio.timeout(CLOSED_S):
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    answer += data
    except TimeoutError:
        return None
    finally:
        writer.close()
    return bytes(answer)


def _statuses(answer: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", answer)]
