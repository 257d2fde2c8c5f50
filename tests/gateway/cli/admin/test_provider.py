"""`session-gateway provider` against a gateway's process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.cli.admin.harness import AdminHarness
from tests.support.gateway import configuration, family_table
from tests.support.process import run_here, serving

UNREACHABLE = "http://127.0.0.1:1"
TABLES = (family_table("lucky", "luckymonaco", UNREACHABLE), family_table("kyren", "kyren", UNREACHABLE))
ACTOR = ("--actor", "ada", "--reason", "repairs \N{SNOWMAN}")
UNCHANGED = "already had this state"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[AdminHarness]:
    config = configuration(tmp_path, *TABLES)
    async with serving(config) as process:
        yield AdminHarness("provider", process, config)


async def test_a_provider_is_disabled_and_enabled(gateway: AdminHarness) -> None:
    """Each command returns the state change, `list` shows it, and `history` lists the changes, newest first."""
    (disabled,) = await gateway.lines("disable", "lucky", *ACTOR)
    assert (disabled["changed"], disabled["state_change"]["state"]) == (True, "PROVIDER_STATE_DISABLED")
    assert (disabled["state_change"]["actor"], disabled["state_change"]["on_behalf_of"]) == ("anonymous", "ada")
    assert disabled["state_change"]["reason"] == "repairs \N{SNOWMAN}"
    kyren, lucky = await gateway.lines("list")
    shown = lucky["health"]["disabled"]
    assert (shown["actor"], shown["on_behalf_of"]) == ("anonymous", "ada")
    assert "disabled" not in kyren["health"]
    (enabled,) = await gateway.lines("enable", "lucky", "--actor", "bob", "--reason", "repaired")
    assert enabled["changed"]
    await gateway.lines("disable", "kyren", *ACTOR)
    assert await gateway.lines("history", "lucky") == [enabled["state_change"], disabled["state_change"]]
    assert len(await gateway.lines("history")) == 3
    assert (await gateway.lines("list"))[1]["health"]["state"] == "HEALTH_STATE_UNTRIED"


async def test_tables_are_printed(gateway: AdminHarness) -> None:
    """Without --json every command prints a table, and reports on standard error if nothing was changed."""
    disabled = await gateway.run("disable", "lucky", *ACTOR)
    for text in ("lucky", "disabled", "actor", "anonymous", "on behalf of", "ada", "repairs \N{SNOWMAN}"):
        assert text in disabled.out
    assert disabled.err == ""
    again = await gateway.run("disable", "lucky", "--actor", "eve", "--reason", "me too")
    assert (again.code, again.out) == (0, disabled.out)
    assert UNCHANGED in again.err
    listed = await gateway.run("list")
    for text in ("provider", "lucky", "luckymonaco", "UNTRIED", "CLOSED", "kyren"):
        assert text in listed.out
    assert "by anonymous on behalf of ada: repairs \N{SNOWMAN}" in " ".join(listed.out.split())
    never_disabled = await gateway.run("enable", "kyren", *ACTOR)
    assert (never_disabled.code, never_disabled.out) == (0, "")
    assert UNCHANGED in never_disabled.err
    history = await gateway.run("history", "lucky")
    for text in ("lucky", "disabled", "actor", "anonymous", "on behalf of", "ada", "repairs \N{SNOWMAN}"):
        assert text in history.out
    empty = await gateway.run("history", "kyren")
    assert (empty.code, empty.out, empty.err.strip()) == (0, "", "none")


async def test_a_rejected_call_exits_1(gateway: AdminHarness) -> None:
    """The gateway's reason and message are printed, and no state is changed."""
    for arguments, message in (
        (("disable", "unknown", *ACTOR), "PROVIDER_UNKNOWN: no provider 'unknown'"),
        (("enable", "lucky", "--actor", " ", "--reason", "x"), "FIELD_INVALID: on_behalf_of is required"),
    ):
        ended = await gateway.run(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(message)
    assert await gateway.lines("history") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("disable", "lucky", "--actor", "ada"), "--reason"),
        (("enable", "lucky", "--reason", "x"), "--actor"),
        (("disable", *ACTOR), "NAME"),
        (("history", "--limit", "0"), "--limit"),
    ],
)
async def test_wrong_usage_exits_2(arguments: tuple[str, ...], message: str) -> None:
    """Wrong arguments are reported before any call is made."""
    ended = await run_here("provider", *arguments, "--target", "127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
