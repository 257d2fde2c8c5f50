"""A gateway's process and the admin commands that call it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.process import CommandResult, Serving, run_here
from tests.support.results import result_body


def result(reference: str, **members: Any) -> bytes:
    """A Result of 10.50 under this reference."""
    return result_body(reference, amount="10.50", **members)


@dataclass(frozen=True)
class AdminHarness:
    """Runs the commands of one group against a gateway."""

    group: str
    serving: Serving
    config: Path

    async def run(self, *arguments: str) -> CommandResult:
        """Run a command."""
        return await run_here(self.group, *arguments, "--target", self.serving.ready_message["grpc"])

    async def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that succeeds, and return its lines of JSON."""
        ended = await self.run(*arguments, "--json")
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]

    async def deliver(self, *references: str, **members: Any) -> None:
        """Deliver Results, whatever the gateway answers."""
        async with aiohttp.ClientSession() as http:
            for reference in references:
                await self.serving.deliver(http, result(reference, **members))
