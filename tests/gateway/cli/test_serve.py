"""What a process that serves does without, so that it starts soon."""

import os
from pathlib import Path

import pytest

from gateway.cli import plain_options
from tests.support.gateway import configuration, family_table
from tests.support.process import serving

FOR_PEOPLE = ("typer", "rich.console", "pygments", "pydantic", "gateway.cli.admin", "gateway.cli.demo")
FOR_OTHERS = (
    "asyncpg",
    "gateway.store.postgres",
    "gateway.wallet.remote",
    "gateway.server.supervisor",
    "gateway.simulation",
    "adapters.simulation",
    "adapters.golden",
    "adapters.conformance",
    "adapters.eliab",
    "hypothesis",
    "opentelemetry",
)
"""What another configuration, or another command, has a use for."""


async def loaded(config: Path, command: str) -> set[str]:
    """The modules that a process had loaded by the time it took calls, told by the interpreter itself."""
    async with serving(config, command, environ={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}):
        lines = config.with_suffix(".log").read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("command", ["serve", "wallet"])
async def test_a_server_on_sqlite_loads_nothing_that_it_has_no_use_for(tmp_path: Path, command: str) -> None:
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"))
    modules = await loaded(config, command)
    assert {"structlog", "grpc", "gateway.rpc.server", "gateway.store.sqlite.store"} <= modules
    assert not modules.intersection(FOR_PEOPLE + FOR_OTHERS)


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("serve --config a.toml", {"--config": "a.toml"}),
        ("serve --worker 1,2,3 --config a.toml", {"--config": "a.toml", "--worker": "1,2,3"}),
        ("wallet --config a.toml", {"--config": "a.toml"}),
    ],
)
def test_a_server_that_is_told_what_it_needs_starts_the_short_way(line: str, options: dict[str, str]) -> None:
    assert plain_options(line.split()) == options


@pytest.mark.parametrize(
    "line",
    [
        "",
        "serve",
        "serve --help",
        "serve --config",
        "serve --config a.toml --help",
        "serve --config a.toml more",
        "serve --config --help",
        "serve --config a.toml --config b.toml",
        "serve --config a.toml --workers 2",
        "serve --config=a.toml",
        "serve --worker 1,2,3",
        "wallet --config a.toml --worker 1,2,3",
        "check --config a.toml",
        "--config a.toml serve",
    ],
)
def test_whatever_is_written_otherwise_is_read_by_who_can_explain_it(line: str) -> None:
    assert plain_options(line.split()) is None


async def test_a_server_that_is_called_otherwise_serves_all_the_same(tmp_path: Path) -> None:
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"))
    async with serving(config, "serve", "--workers", "1") as gateway:
        await gateway.open_account("player-1")
        await gateway.stop()
