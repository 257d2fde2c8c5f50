"""Gateways of a size: with a number of providers, and a number of stored references."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.environment import SQLITE, BenchEnvironment, providers
from bench.processes import Server
from bench.seed import Part, fill_postgres, fill_sqlite


@dataclass(frozen=True)
class SizedGateway:
    """One gateway under load."""

    server: Server
    providers: Sequence[str]
    database_pid: int | None
    """The first of PostgreSQL's processes."""
    parts: Sequence[Part]
    """What is stored."""

    def stored(self) -> tuple[Part, int]:
        """A random Result that is stored."""
        number = random.randrange(self.parts[-1].high)  # noqa: S311 - no secret
        return next((part, number) for part in self.parts if number < part.high)


class SeededDatabase:
    """A database that grows part by part, and gateways on it."""

    def __init__(self, environment: BenchEnvironment, name: str, engine: str, number_of_providers: int) -> None:
        self._environment = environment
        self._name = name
        self._engine = engine
        self._providers = providers(number_of_providers)
        self._parts: list[Part] = []
        self.url = ""

    async def grow(self, high: int) -> None:
        """Store Results up to that number."""
        if not self.url:
            self.url = await self._environment.database(self._engine)
            async with self.serving():
                pass  # makes the tables
        part = Part(self._parts[-1].high if self._parts else 0, high)
        if self._engine == SQLITE:
            await asyncio.to_thread(fill_sqlite, self.url, part)
        else:
            await fill_postgres(self.url, part)
        self._parts.append(part)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[SizedGateway]:
        """A gateway on it."""
        config = self._environment.configuration(self.url, names=self._providers)
        postgres = self._environment.postgres
        pid = postgres.pid() if postgres is not None else None
        async with self._environment.serving(self._name, "gateway", "serve", "--config", str(config)) as server:
            yield SizedGateway(server, self._providers, pid, tuple(self._parts))
