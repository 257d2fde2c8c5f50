"""`session-gateway reconcile` against a gateway's process."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from tests.gateway.cli.admin.harness import AdminHarness, result
from tests.support.gateway import configuration, family_table
from tests.support.process import run, run_here, serving

TABLE = family_table("lucky", "luckymonaco", "http://127.0.0.1:1")
ONE_MORE_THAN_A_PAGE = 51


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[AdminHarness]:
    config = configuration(tmp_path, TABLE)
    async with serving(config) as process:
        yield AdminHarness("reconcile", process, config)


async def test_a_refused_result_is_found_and_redelivered(gateway: AdminHarness) -> None:
    """It is listed, shown and redelivered once its account is open; then the item is resolved by the gateway."""
    await gateway.deliver("ref-1")
    (item,) = await gateway.lines("list")
    assert (item["kind"], item["fault"], item["reference"]) == ("ITEM_KIND_RESULT_REFUSED", "ACCOUNT_UNKNOWN", "ref-1")
    (shown,) = await gateway.lines("show", item["id"])
    assert shown["item"] == item
    assert shown["callback"]["body"].encode() == result("ref-1")
    assert await gateway.lines("callbacks") == [shown["callback"]]
    early = await gateway.run("redeliver", item["exchange_id"], "--actor", "ada", "--reason", "perhaps", "--json")
    assert (early.code, json.loads(early.out)["verdict"]) == (1, "ACCOUNT_UNKNOWN")
    await gateway.serving.open_account(opening_balance="0")
    (answer,) = await gateway.lines("redeliver", item["exchange_id"], "--actor", "ada", "--reason", "account opened")
    assert answer["verdict"] == "CREDITED"
    assert await gateway.lines("list") == []
    (settled,) = await gateway.lines("list", "--resolved")
    assert (settled["id"], settled["resolution"]["reason"]) == (item["id"], "credited")
    (transaction,) = await gateway.lines("transaction", "lucky", "ref-1")
    assert (transaction["amount"], transaction["user_id"], transaction["round_id"]) == ("10.5", "421", "5103188801")
    assert json.loads(answer["answer"])["transactionId"] == transaction["transaction_id"]
    assert await gateway.lines("transactions", "421") == [transaction]


async def test_an_item_is_resolved_with_actor_and_reason(gateway: AdminHarness) -> None:
    """`resolve` records both; a second one exits 1 and prints who resolved the item."""
    await gateway.deliver("ref-1", "ref-2")
    first, second = await gateway.lines("list", "--provider", "lucky", "--user", "421")
    (settled,) = await gateway.lines("resolve", first["id"], "--actor", "ada", "--reason", "paid by hand")
    resolution = settled["resolution"]
    assert (resolution["actor"], resolution["on_behalf_of"]) == ("anonymous", "ada")
    assert resolution["reason"] == "paid by hand"
    assert await gateway.lines("list") == [second]
    again = await gateway.run("resolve", first["id"], "--actor", "eve", "--reason", "me too")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("ITEM_RESOLVED: ")
    assert "by anonymous on behalf of ada: paid by hand" in again.err
    listed = await gateway.run("list", "--resolved")
    assert "by anonymous on behalf of ada: paid by hand" in " ".join(listed.out.split())


async def test_tables_are_printed(gateway: AdminHarness) -> None:
    """Without --json every command prints a table, without characters that control the terminal."""
    await gateway.deliver("ref-1", gameName="[red]\u202e\x9b2J")
    (item,) = await gateway.lines("list")
    listed = await gateway.run("list")
    for text in (item["id"], "ACCOUNT_UNKNOWN user_id", "lucky", "421", "ref-1"):
        assert text in listed.out
    shown = await gateway.run("show", item["id"])
    for text in (item["id"], item["detail"], "RESULT_REFUSED", "V4/Result", "127.0.0.1", "[red]"):
        assert text in shown.out
    callbacks = await gateway.run("callbacks")
    for text in (item["exchange_id"], "ACCOUNT_UNKNOWN", "yes"):
        assert text in callbacks.out
    still_refused = await gateway.run("redeliver", item["exchange_id"], "--actor", "ada", "--reason", "perhaps")
    assert still_refused.code == 1
    callbacks = await gateway.run("callbacks")
    assert "by anonymous on behalf of ada: perhaps" in " ".join(callbacks.out.split())
    await gateway.serving.open_account(opening_balance="0")
    redelivered = await gateway.run("redeliver", item["exchange_id"], "--actor", "ada", "--reason", "account opened")
    for text in ("CREDITED", "transactionId"):
        assert text in redelivered.out
    for arguments in (("transactions", "421"), ("transaction", "lucky", "ref-1")):
        looked_up = await gateway.run(*arguments)
        for text in ("ref-1", "10.5 USD", "RESULT", "5103188801"):
            assert text in looked_up.out
    settled = await gateway.run("list", "--resolved")
    assert "by the gateway: credited" in settled.out
    nothing = await gateway.run("list")
    assert (nothing.code, nothing.out, nothing.err.strip()) == (0, "", "none")
    for ended in (listed, shown, callbacks, redelivered, settled):
        assert ended.code == 0
        assert not {"\x1b", "\x9b", "\u202e"} & set(ended.out)


async def test_the_whole_callback_is_shown(gateway: AdminHarness) -> None:
    """A callback that is longer than a line is folded."""
    await gateway.deliver("ref-1", gameName="".join(map(str, range(300))))
    (item,) = await gateway.lines("list")
    body = (await gateway.lines("show", item["id"]))[0]["callback"]["body"]
    shown = (await gateway.run("show", item["id"])).out
    assert "".join(body.split()) in "".join(shown.split())


async def test_a_list_ends_at_its_limit(gateway: AdminHarness) -> None:
    """A list has up to --limit entries, over any number of pages, and reports if there are more."""
    await gateway.deliver(*(f"ref-{number}" for number in range(ONE_MORE_THAN_A_PAGE)))
    assert len(await gateway.lines("callbacks")) == ONE_MORE_THAN_A_PAGE
    some = await gateway.run("list", "--limit", "3", "--json")
    assert [json.loads(line)["reference"] for line in some.out.splitlines()] == ["ref-0", "ref-1", "ref-2"]
    assert "--limit" in some.err
    whole = await gateway.run("list", "--limit", str(ONE_MORE_THAN_A_PAGE), "--json")
    assert (len(whole.out.splitlines()), whole.err) == (ONE_MORE_THAN_A_PAGE, "")


async def test_a_rejected_call_exits_1(gateway: AdminHarness) -> None:
    """The gateway's reason and message are printed."""
    for arguments, reason in (
        (("show", "nothing"), "ITEM_UNKNOWN: there is no item nothing"),
        (("resolve", "nothing", "--actor", " ", "--reason", "x"), "FIELD_INVALID: on_behalf_of is required"),
        (("redeliver", "nothing", "--actor", "ada", "--reason", "x"), "CALLBACK_UNKNOWN: no callback nothing"),
        (("transaction", "lucky", "nothing"), "TRANSACTION_UNKNOWN: nothing was credited"),
    ):
        ended = await gateway.run(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(reason)


async def test_the_configuration_gives_the_address(gateway: AdminHarness, tmp_path: Path) -> None:
    """--config calls the gateway that runs with that file, unless its port is chosen at each start."""
    await gateway.deliver("ref-1")
    free_port = await run("reconcile", "list", "--config", str(gateway.config))
    assert free_port.code == 2
    assert "--target" in free_port.err
    fixed = tmp_path / "fixed.toml"
    fixed.write_text(gateway.config.read_text().replace("127.0.0.1:0", gateway.serving.ready_message["grpc"], 1))
    listed = await run("reconcile", "list", "--config", str(fixed), "--json")
    assert json.loads(listed.out)["reference"] == "ref-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("resolve", "i", "--reason", "x", "--target", "127.0.0.1:1"),
        ("resolve", "i", "--actor", "x", "--target", "127.0.0.1:1"),
        ("list", "--limit", "0", "--target", "127.0.0.1:1"),
        ("list", "--target", "127.0.0.1:1", "--cert", "c"),
        ("list", "--config", "no-such-file.toml"),
    ],
)
async def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    """Wrong arguments are reported before any call is made."""
    ended = await run_here("reconcile", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


async def test_a_gateway_that_does_not_answer_is_reported() -> None:
    """The message names the address and what to check, and the command exits 1."""
    ended = await run_here("reconcile", "list", "--target", "127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert "no gateway answers at 127.0.0.1:1" in ended.err
    assert "Traceback" not in ended.err


async def test_a_gateway_behind_tls_is_called(tmp_path: Path) -> None:
    """If certificates are required, the operator's own is accepted, and none is not: the gateway's is not presented."""
    authority = trustme.CA()
    server, client = authority.issue_cert("gateway.example.com"), authority.issue_cert("ada.example.com")
    for name, certificate in (("", server), ("my-", client)):
        certificate.private_key_pem.write_to_path(str(tmp_path / f"{name}key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = 'tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }'
    config = configuration(tmp_path, TABLE, grpc=tls)
    async with serving(config) as process:
        there = ("reconcile", "list", "--target", process.ready_message["grpc"])
        named = ("--server-name", "gateway.example.com")
        own = tuple(
            part
            for name in ("ca", "cert", "key")
            for part in (f"--{name}", f"{tmp_path}/{'my-' * (name != 'ca')}{name}.pem")
        )
        without = await run_here(*there, "--config", str(config), *named)
        assert without.code == 2
        assert "--token-file" in without.err
        assert (await run_here(*there, "--config", str(config), *own[2:], *named)).code == 0
        assert (await run_here(*there, *own, *named)).code == 0
        for refused in (there, (*there, *own), (*there, *own[:2], *named)):
            ended = await run_here(*refused)
            assert ended.code == 1
            assert "TLS" in ended.err


async def test_a_name_beyond_the_terminals_encoding_is_escaped(gateway: AdminHarness) -> None:
    """Letters that an ASCII terminal cannot show are escaped, in tables and in errors, and there is no traceback."""
    await gateway.deliver("ref-1", userId="J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen\N{SNOWMAN}")
    (item,) = await gateway.lines("list")
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    target = ("--target", gateway.serving.ready_message["grpc"])
    for arguments in (("list",), ("show", item["id"])):
        ended = await run("reconcile", *arguments, *target, environ=environ)
        assert (ended.code, ended.err) == (0, "")
        assert r"J\xfcrgen\u2603" in ended.out
    unknown = await run("reconcile", "show", "\N{SNOWMAN}", *target, environ=environ)
    assert unknown.code == 1
    assert unknown.err.startswith("ITEM_UNKNOWN")
    assert r"\u2603" in unknown.err
