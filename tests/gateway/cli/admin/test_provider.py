"""`session-gateway provider`, as a person types it, against a gateway's process."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import configuration, family_table
from tests.support.process import Ended, Serving, run_here, serving

NOBODY = "http://127.0.0.1:1"
TABLES = (family_table("lucky", "luckymonaco", NOBODY), family_table("kyren", "kyren", NOBODY))
WHO = ("--by", "ada", "--why", "repairs \N{SNOWMAN}")


@dataclass(frozen=True)
class Operated:
    """A gateway's process, and the commands that call it."""

    serving: Serving

    async def told(self, *arguments: str) -> Ended:
        """Run a command of `provider` against it."""
        return await run_here("provider", *arguments, "--target", self.serving.said["grpc"])

    async def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that succeeds, and read its lines of JSON."""
        ended = await self.told(*arguments, "--json")
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Operated]:
    async with serving(configuration(tmp_path, *TABLES)) as process:
        yield Operated(process)


async def test_a_provider_is_switched_off_and_on(gateway: Operated) -> None:
    """Each command answers the switch, the list shows who it was, and the history keeps both, newest first."""
    (off,) = await gateway.lines("off", "lucky", *WHO)
    assert (off["changed"], off["state_change"]["state"]) == (True, "PROVIDER_STATE_DISABLED")
    assert (off["state_change"]["actor"], off["state_change"]["reason"]) == ("ada", "repairs \N{SNOWMAN}")
    kyren, lucky = await gateway.lines("list")
    assert lucky["health"]["disabled"]["actor"] == "ada"
    assert "disabled" not in kyren["health"]
    (on,) = await gateway.lines("on", "lucky", "--by", "bob", "--why", "repaired")
    assert on["changed"]
    await gateway.lines("off", "kyren", *WHO)
    assert await gateway.lines("history", "lucky") == [on["state_change"], off["state_change"]]
    assert len(await gateway.lines("history")) == 3
    assert (await gateway.lines("list"))[1]["health"]["state"] == "HEALTH_STATE_UNTRIED"


async def test_people_read_tables(gateway: Operated) -> None:
    """Without --json every command prints what a person looks for, and says where nothing was changed."""
    off = await gateway.told("off", "lucky", *WHO)
    for words in ("lucky", "disabled", "ada", "repairs \N{SNOWMAN}"):
        assert words in off.out
    assert off.err == ""
    again = await gateway.told("off", "lucky", "--by", "eve", "--why", "me too")
    assert (again.code, again.out) == (0, off.out)
    assert "stood so already" in again.err
    listed = await gateway.told("list")
    for words in ("provider", "lucky", "luckymonaco", "UNTRIED", "CLOSED", "by ada: repairs \N{SNOWMAN}", "kyren"):
        assert words in listed.out
    never = await gateway.told("on", "kyren", *WHO)
    assert (never.code, never.out) == (0, "")
    assert "stood so already" in never.err
    history = await gateway.told("history", "lucky")
    for words in ("lucky", "disabled", "ada", "repairs \N{SNOWMAN}"):
        assert words in history.out
    nothing = await gateway.told("history", "kyren")
    assert (nothing.code, nothing.out, nothing.err.strip()) == (0, "", "none")


async def test_what_the_gateway_refuses_exits_1(gateway: Operated) -> None:
    """A failure that the gateway tells is printed with its reason and its message, and nothing is switched."""
    for arguments, said in (
        (("off", "nobody", *WHO), "PROVIDER_UNKNOWN: no provider 'nobody'"),
        (("on", "lucky", "--by", " ", "--why", "x"), "FIELD_INVALID: actor is required"),
    ):
        ended = await gateway.told(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(said)
    assert await gateway.lines("history") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("off", "lucky", "--by", "ada"), "--why"),
        (("on", "lucky", "--why", "x"), "--by"),
        (("off", *WHO), "NAME"),
        (("history", "--limit", "0"), "--limit"),
    ],
)
async def test_bad_usage_exits_2(arguments: tuple[str, ...], said: str) -> None:
    """What nobody could carry out is refused before anything is called."""
    ended = await run_here("provider", *arguments, "--target", "127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
