"""`session-gateway reconcile`, as a person types it, against a gateway's process."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.support.gateway import configuration, family_table
from tests.support.process import Ended, Serving, run, run_here, serving
from tests.support.results import result_body

TABLE = family_table("lucky", "luckymonaco", "http://127.0.0.1:1")
ONE_MORE_THAN_A_PAGE = 51


@dataclass(frozen=True)
class Operated:
    """A gateway's process, and the commands that call it."""

    serving: Serving
    config: Path

    async def told(self, *arguments: str) -> Ended:
        """Run a command of `reconcile` against it."""
        return await run_here("reconcile", *arguments, "--target", self.serving.said["grpc"])

    async def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that succeeds, and read its lines of JSON."""
        ended = await self.told(*arguments, "--json")
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]

    async def deliver(self, *references: str, **more: Any) -> None:
        """Deliver Results, whatever becomes of them."""
        async with aiohttp.ClientSession() as http:
            for reference in references:
                await self.serving.deliver(http, result(reference, **more))


def result(reference: str, **more: Any) -> bytes:
    return result_body(reference, amount="10.50", **more)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Operated]:
    config = configuration(tmp_path, TABLE)
    async with serving(config) as process:
        yield Operated(process, config)


async def test_a_refused_result_is_found_mended_and_paid(gateway: Operated) -> None:
    """The whole way: listed, shown, redelivered once its account is open, looked up, and settled by itself."""
    await gateway.deliver("ref-1")
    (item,) = await gateway.lines("list")
    assert (item["kind"], item["fault"], item["reference"]) == ("ITEM_KIND_RESULT_REFUSED", "ACCOUNT_UNKNOWN", "ref-1")
    (shown,) = await gateway.lines("show", item["id"])
    assert shown["item"] == item
    assert shown["callback"]["body"].encode() == result("ref-1")
    assert await gateway.lines("callbacks") == [shown["callback"]]
    early = await gateway.told("redeliver", item["exchange_id"], "--by", "ada", "--why", "perhaps", "--json")
    assert (early.code, json.loads(early.out)["verdict"]) == (1, "ACCOUNT_UNKNOWN")
    await gateway.serving.open_account(opening_balance="0")
    (answer,) = await gateway.lines("redeliver", item["exchange_id"], "--by", "ada", "--why", "account opened")
    assert answer["verdict"] == "CREDITED"
    assert await gateway.lines("list") == []
    (settled,) = await gateway.lines("list", "--resolved")
    assert (settled["id"], settled["resolution"]["reason"]) == (item["id"], "credited")
    (transaction,) = await gateway.lines("transaction", "lucky", "ref-1")
    assert (transaction["amount"], transaction["user_id"], transaction["round_id"]) == ("10.5", "421", "5103188801")
    assert json.loads(answer["answer"])["transactionId"] == transaction["transaction_id"]
    assert await gateway.lines("transactions", "421") == [transaction]


async def test_an_item_is_settled_with_who_and_why(gateway: Operated) -> None:
    """`resolve` keeps who and why; done twice it exits 1 and says who did it first."""
    await gateway.deliver("ref-1", "ref-2")
    first, second = await gateway.lines("list", "--provider", "lucky", "--user", "421")
    (settled,) = await gateway.lines("resolve", first["id"], "--by", "ada", "--why", "paid by hand")
    assert (settled["resolution"]["actor"], settled["resolution"]["reason"]) == ("ada", "paid by hand")
    assert await gateway.lines("list") == [second]
    again = await gateway.told("resolve", first["id"], "--by", "eve", "--why", "me too")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("ITEM_RESOLVED: ")
    assert "ada: paid by hand" in again.err


async def test_people_read_tables(gateway: Operated) -> None:
    """Without --json every command prints what a person looks for, and nothing that steers the terminal."""
    await gateway.deliver("ref-1", gameName="[red]\u202e\x9b2J")
    (item,) = await gateway.lines("list")
    listed = await gateway.told("list")
    for words in (item["id"], "ACCOUNT_UNKNOWN user_id", "lucky", "421", "ref-1"):
        assert words in listed.out
    shown = await gateway.told("show", item["id"])
    for words in (item["id"], item["detail"], "RESULT_REFUSED", "V4/Result", "127.0.0.1", "[red]"):
        assert words in shown.out
    callbacks = await gateway.told("callbacks")
    for words in (item["exchange_id"], "ACCOUNT_UNKNOWN", "yes"):
        assert words in callbacks.out
    await gateway.serving.open_account(opening_balance="0")
    redelivered = await gateway.told("redeliver", item["exchange_id"], "--by", "ada", "--why", "account opened")
    for words in ("CREDITED", "transactionId"):
        assert words in redelivered.out
    for arguments in (("transactions", "421"), ("transaction", "lucky", "ref-1")):
        looked_up = await gateway.told(*arguments)
        for words in ("ref-1", "10.5 USD", "RESULT", "5103188801"):
            assert words in looked_up.out
    settled = await gateway.told("list", "--resolved")
    assert "by the gateway: credited" in settled.out
    nothing = await gateway.told("list")
    assert (nothing.code, nothing.out, nothing.err.strip()) == (0, "", "none")
    for ended in (listed, shown, callbacks, redelivered, settled):
        assert ended.code == 0
        assert not {"\x1b", "\x9b", "\u202e"} & set(ended.out)


async def test_a_callback_is_shown_whole(gateway: Operated) -> None:
    """One that is longer than a line is folded, and no part of it is left out."""
    await gateway.deliver("ref-1", gameName="".join(map(str, range(300))))
    (item,) = await gateway.lines("list")
    body = (await gateway.lines("show", item["id"]))[0]["callback"]["body"]
    shown = (await gateway.told("show", item["id"])).out
    assert "".join(body.split()) in "".join(shown.split())


async def test_a_list_goes_on_to_its_limit(gateway: Operated) -> None:
    """However many pages it takes, a list has up to --limit entries, and says where there are more."""
    await gateway.deliver(*(f"ref-{number}" for number in range(ONE_MORE_THAN_A_PAGE)))
    assert len(await gateway.lines("callbacks")) == ONE_MORE_THAN_A_PAGE
    some = await gateway.told("list", "--limit", "3", "--json")
    assert [json.loads(line)["reference"] for line in some.out.splitlines()] == ["ref-0", "ref-1", "ref-2"]
    assert "--limit" in some.err
    whole = await gateway.told("list", "--limit", str(ONE_MORE_THAN_A_PAGE), "--json")
    assert (len(whole.out.splitlines()), whole.err) == (ONE_MORE_THAN_A_PAGE, "")


async def test_what_the_gateway_refuses_exits_1(gateway: Operated) -> None:
    """A failure that the gateway tells is printed with its reason and its message, and exits 1."""
    for arguments, reason in (
        (("show", "nothing"), "ITEM_UNKNOWN: there is no item nothing"),
        (("resolve", "nothing", "--by", " ", "--why", "x"), "FIELD_INVALID: actor is required"),
        (("redeliver", "nothing", "--by", "ada", "--why", "x"), "CALLBACK_UNKNOWN: no callback nothing"),
        (("transaction", "lucky", "nothing"), "TRANSACTION_UNKNOWN: nothing was credited"),
    ):
        ended = await gateway.told(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(reason)


async def test_the_gateways_own_configuration_says_where(gateway: Operated, tmp_path: Path) -> None:
    """--config calls the gateway that runs with it; a port that is another at each start cannot be called by it."""
    await gateway.deliver("ref-1")
    unknown = await run("reconcile", "list", "--config", str(gateway.config))
    assert unknown.code == 2
    assert "--target" in unknown.err
    known = tmp_path / "known.toml"
    known.write_text(gateway.config.read_text().replace("127.0.0.1:0", gateway.serving.said["grpc"], 1))
    listed = await run("reconcile", "list", "--config", str(known), "--json")
    assert json.loads(listed.out)["reference"] == "ref-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("resolve", "i", "--why", "x", "--target", "127.0.0.1:1"),
        ("resolve", "i", "--by", "x", "--target", "127.0.0.1:1"),
        ("list", "--limit", "0", "--target", "127.0.0.1:1"),
        ("list", "--target", "127.0.0.1:1", "--cert", "c"),
        ("list", "--config", "no-such-file.toml"),
    ],
)
async def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    """What nobody could carry out is refused before anything is called."""
    ended = await run_here("reconcile", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


async def test_a_gateway_that_does_not_answer_is_told_so() -> None:
    """Where nobody listens the message says where it looked and what to check, and exits 1."""
    ended = await run_here("reconcile", "list", "--target", "127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert "no gateway answers at 127.0.0.1:1" in ended.err
    assert "Traceback" not in ended.err


async def test_a_gateway_behind_tls_is_called(tmp_path: Path) -> None:
    """Where certificates are demanded, the configuration's serve, and a person's own; without one nobody answers."""
    authority = trustme.CA()
    ours, mine = authority.issue_cert("gateway.example.com"), authority.issue_cert("ada.example.com")
    for name, certificate in (("", ours), ("my-", mine)):
        certificate.private_key_pem.write_to_path(str(tmp_path / f"{name}key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = 'tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }'
    config = configuration(tmp_path, TABLE, grpc=tls)
    async with serving(config) as process:
        there = ("reconcile", "list", "--target", process.said["grpc"])
        named = ("--server-name", "gateway.example.com")
        own = tuple(
            part
            for name in ("ca", "cert", "key")
            for part in (f"--{name}", f"{tmp_path}/{'my-' * (name != 'ca')}{name}.pem")
        )
        assert (await run_here(*there, "--config", str(config), *named)).code == 0
        assert (await run_here(*there, *own, *named)).code == 0
        for refused in (there, (*there, *own), (*there, *own[:2], *named)):
            ended = await run_here(*refused)
            assert ended.code == 1
            assert "TLS" in ended.err
