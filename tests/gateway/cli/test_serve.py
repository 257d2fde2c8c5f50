"""What a server's process imports."""

import os
from pathlib import Path

import pytest

from tests.support.gateway import configuration, family_table
from tests.support.process import serving

NOT_NEEDED = {
    "asyncpg",
    "gateway.store.postgres",
    "gateway.wallet.remote",
    "gateway.simulation",
    "gateway.cli.admin.client",
    "gateway.cli.demo",
    "adapters.simulation",
    "adapters.golden",
    "adapters.conformance",
    "adapters.eliab",
    "hypothesis",
    "opentelemetry",
}
"""Modules of other configurations, other commands, and optional extras."""


async def imported(config: Path, command: str) -> set[str]:
    """The modules that a process imports until it accepts calls."""
    async with serving(config, command, environ={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}):
        lines = config.with_suffix(".log").read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("command", ["serve", "wallet"])
async def test_a_server_imports_only_what_its_configuration_needs(tmp_path: Path, command: str) -> None:
    """On SQLite with the built-in wallet, no other engine, adapter, command or optional extra is imported."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"))
    modules = await imported(config, command)
    assert {"structlog", "grpc", "gateway.rpc.server", "gateway.store.sqlite.store"} <= modules
    assert not modules & NOT_NEEDED
