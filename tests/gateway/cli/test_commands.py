"""The commands as processes: their output, their exit codes, and what a restarted gateway remembers."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from gateway.store.migration_files import migrations
from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import wallet_service_pb2 as wallet
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import callback_key, configuration, family_table, provider_table, running_gateway
from tests.support.postgres import PostgresServer
from tests.support.process import Serving, run, run_here, serving
from tests.support.provider import ScriptedProvider, answering_after, scripted_provider
from tests.support.reloadable import reloadable
from tests.support.results import result_body

RESULT = result_body()

UNEXPECTED_ERROR = """
import gateway.cli
from gateway.cli import commands

def load_or_exit(config):
    secret = "".join(["con", "figured"])
    raise RuntimeError("unexpected")

commands.load_or_exit = load_or_exit
gateway.cli.main()
"""


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


async def deliver(gateway: Serving) -> Any:
    """Deliver the Result once, over its own connection, and return the gateway's answer."""
    async with aiohttp.ClientSession() as http:
        return await gateway.deliver(http, RESULT)


async def test_a_kill_between_two_deliveries_credits_once(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A gateway that is killed after it acknowledged a Result answers the same after a restart, and credits once."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway:
        await gateway.open_account()
        first = await deliver(gateway)
        gateway.process.kill()
        assert await gateway.process.wait() == -signal.SIGKILL
    async with serving(config) as gateway:
        assert await gateway.cash() == 11
        assert await deliver(gateway) == first
        assert await gateway.cash() == 11


async def test_a_kill_during_deliveries_credits_once(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A gateway that is killed during a burst of deliveries has credited what it acknowledged, and nothing twice."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway:
        await gateway.open_account()
        deliveries = [asyncio.ensure_future(deliver(gateway)) for _ in range(20)]
        await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
        gateway.process.kill()
        await asyncio.wait(deliveries)
        answered = [done.result() for done in deliveries if not done.exception()]
    async with serving(config) as gateway:
        last = await deliver(gateway)
        assert await gateway.cash() == 11
        assert answered
        assert {answer["transactionId"] for answer in answered} == {last["transactionId"]}


async def test_sigterm_finishes_calls_in_flight_and_exits_0(tmp_path: Path, provider: ScriptedProvider) -> None:
    """On SIGTERM the gateway answers the calls in flight, ends its streams, and exits 0."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        stub = SessionServiceStub(channel)
        watch = stub.WatchEvents(sessions.WatchEventsRequest())
        await watch.initial_metadata()
        closing = asyncio.ensure_future(
            stub.CloseSession(sessions.CloseSessionRequest(provider="lucky", user_id="u"), timeout=8)
        )
        await provider.arrived.wait()
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watch.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://{gateway.ready_message['admin']}/readyz") as response,
        ):
            assert response.status == 503
            assert "stopping" in await response.text()
        release.set()
        assert (await closing).outcome == sessions.OUTCOME_CLOSED
        assert await asyncio.wait_for(gateway.process.wait(), 60) == 0


async def test_no_secret_reaches_the_log(tmp_path: Path, provider: ScriptedProvider) -> None:
    """The log of a debug gateway holds neither tokens nor callback keys."""
    table = family_table("lucky", "luckymonaco", provider.base_url)
    config = configuration(tmp_path, table)
    config.write_text(config.read_text() + '[log]\nlevel = "debug"\n')
    async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        stub = SessionServiceStub(channel)
        await stub.CloseSession(
            sessions.CloseSessionRequest(provider="lucky", user_id="u", token="callers-token"), timeout=30
        )
        await deliver(gateway)
        gateway.process.terminate()
        assert await gateway.process.wait() == 0
    written = config.with_suffix(".log").read_text()
    assert "CloseSession" in written
    for secret in ("callers-token", "configured-token", callback_key("lucky")):
        assert secret not in written


async def test_check_accepts_a_valid_file(tmp_path: Path, provider: ScriptedProvider) -> None:
    """`check` exits 0 for a valid configuration, and creates no database."""
    config = configuration(
        tmp_path,
        family_table("lucky", "luckymonaco", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url, callback_keys='["a-key-that-opens-nothing-at-all-here"]'),
    )
    ended = await run_here("check", "--config", str(config))
    assert ended.code == 0, ended.err
    assert not (tmp_path / "gateway.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('adapter = "luckymonaco"', 'adapter = "luckymonako"', "providers.lucky.adapter"),
        ('secure_login = "partner-1"', "", "providers.lucky.secure_login"),
        ('secure_login = "partner-1"', "secure_login = 5", "providers.lucky.secure_login"),
        ('secure_login = "partner-1"', 'secure_login = "p"\nfancy = 1', "providers.lucky.fancy"),
        ('secure_login = "partner-1"', 'secure_login = ""', "providers.lucky.secure_login"),
        ('token = "configured-token"', 'token = { env = "NO_SUCH_VARIABLE" }', "providers.lucky.token"),
        ("allow_plain_http = true", "", "providers.lucky.base_url"),
        ("[callbacks]", "[callback]", "callback"),
    ],
)
async def test_check_names_the_key_that_is_wrong(
    tmp_path: Path, provider: ScriptedProvider, old: str, new: str, path: str
) -> None:
    """`check` exits 2 for an invalid configuration, and prints the path of the key."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    ended = await run_here("check", "--config", str(config))
    assert ended.code == 2
    assert f"{path}:" in ended.err
    assert "Traceback" not in ended.err


async def test_an_insecure_file_is_refused_by_check_and_served(tmp_path: Path, provider: ScriptedProvider) -> None:
    """`check` refuses a short key and a secret that others can read; `serve` and a reload log both, and go on."""
    (tmp_path / "token").write_text("configured-token")
    (tmp_path / "token").chmod(0o644)
    keys = {"callback_keys": '["short-key"]', "token": '{ file = "token" }'}
    table = family_table("lucky", "luckymonaco", provider.base_url, **keys)
    paths = ["providers.lucky.callback_keys[0]", "providers.lucky.token"]
    async with reloadable(tmp_path, table) as gateway:
        ended = await run("check", "--config", str(gateway.config))
        await gateway.reload(table)
        insecure = "configuration insecure: check refuses it"
        await gateway.logged(insecure, times=4)
        assert [line["path"] for line in gateway.lines() if line["event"] == insecure] == paths * 2
        assert (await gateway.close()).outcome == sessions.OUTCOME_CLOSED
    assert ended.code == 2
    assert [line.split(": ")[1] for line in ended.err.splitlines()] == paths
    assert "short-key" not in ended.err


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("wallet",)])
async def test_each_server_logs_what_is_insecure(tmp_path: Path, command: Sequence[str]) -> None:
    """Before anything else, and so also where it cannot start."""
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:9", callback_keys='["short-key"]')
    config = configuration(tmp_path, table, store=f"sqlite:///{tmp_path}/missing/gateway.db")
    ended = await run(*command, "--config", str(config))
    assert ended.code
    assert ended.err.count("configuration insecure: check refuses it") == 1


async def test_check_for_production_refuses_more(tmp_path: Path, provider: ScriptedProvider) -> None:
    """`check --production` exits 2 for a test file that `check` accepts, and names each key."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url, callback_keys="[]"))
    assert (await run_here("check", "--config", str(config))).code == 0
    ended = await run_here("check", "--production", "--config", str(config))
    assert ended.code == 2
    assert {line.split(": ")[1] for line in ended.err.splitlines()} == {"callers"} | {
        f"providers.lucky.{key}" for key in ("allow_plain_http", "allow_private_addresses", "callback_keys", "token")
    }


async def test_serve_rejects_what_check_rejects(tmp_path: Path) -> None:
    """`serve` prints the same problem as `check`, and does not start."""
    config = configuration(tmp_path, family_table("lucky", "luckymonako", "http://127.0.0.1:1"))
    ended = await run("serve", "--config", str(config))
    assert ended.code != 0
    assert "providers.lucky.adapter:" in ended.err
    assert "Traceback" not in ended.err


async def test_a_provider_with_stored_references_cannot_be_removed(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A provider whose references are stored must stay in the configuration, at least as retired."""
    lucky, kyren = (family_table(name, name, provider.base_url) for name in ("luckymonaco", "kyren"))
    async with running_gateway(tmp_path, lucky, kyren) as gateway:
        await gateway.wallet.OpenAccount(wallet.OpenAccountRequest(user_id="421", currency="USD"))
        _, body = await gateway.callback("luckymonaco", "V4/Result", RESULT)
        assert json.loads(body)["error"] == 0
    for sections, code in (((lucky, kyren), 0), ((kyren,), 2), ((kyren, "[providers.luckymonaco]\nretired = true"), 0)):
        config = configuration(tmp_path, *sections)
        ended = await run_here("check", "--config", str(config))
        assert ended.code == code, ended.err
        assert ("providers.luckymonaco:" in ended.err) is (code != 0)
    ended = await run("serve", "--config", str(configuration(tmp_path, kyren)))
    assert ended.code != 0
    assert "providers.luckymonaco:" in ended.err


async def test_the_demo_succeeds() -> None:
    """The demo exits 0 and shows a close through each provider, also on a terminal that can show only ASCII."""
    ended = await run("demo", environ={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "ascii"})
    assert ended.code == 0, ended.out + ended.err
    for shown in ("LuckyMonaco", "Kyren", "Eliab", "OUTCOME_CLOSED", "credited once", "SESSION_EXPIRED"):
        assert shown in ended.out


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ("eliab:status:503", "CloseSession through Eliab"),
        ("luckymonaco:code:17", "CloseSession through LuckyMonaco"),  # the call succeeds but closes nothing
    ],
)
async def test_the_demo_fails_if_a_provider_fails(fault: str, step: str) -> None:
    """With a fault in one simulator the demo exits 1 and prints the step."""
    ended = await run("demo", environ={**os.environ, "DEMO_FAULT": fault})
    assert ended.code == 1
    assert "FAILED" in ended.out
    assert step in ended.out.replace("\n", " ")


@pytest.mark.parametrize("command", ["check", "serve", "wallet"])
@pytest.mark.parametrize("url", ["postgresql://u:5/hidden@h/db", "postgresql://u:a hidden@h/db", "postgresql://h/db?x"])
async def test_an_invalid_store_url_is_reported_without_its_password(tmp_path: Path, command: str, url: str) -> None:
    """The message names the key and says what to write; it holds no part of the url, and no traceback."""
    ended = await run(command, "--config", str(configuration(tmp_path, store=url)))
    assert (ended.code, ended.out) == (2, "")
    assert "store.url: the postgresql url" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "hidden" not in ended.err


async def test_help_keeps_square_brackets() -> None:
    """The section names in a help text are printed, not read as markup."""
    ended = await run_here("serve", "--help")
    assert ended.code == 0
    assert "[grpc]" in ended.out
    assert "[admin]" in ended.out


async def test_the_version_is_printed() -> None:
    """`--version` prints the version of the installed package."""
    ended = await run_here("--version")
    assert (ended.code, ended.out) == (0, f"session-gateway {version('session-gateway')}\n")


async def test_commands_are_completed() -> None:
    """The shell completes a command's name."""
    completing = {"_SESSION_GATEWAY_COMPLETE": "complete_bash", "COMP_WORDS": "session-gateway pro", "COMP_CWORD": "1"}
    ended = await run(environ={**os.environ, **completing})
    assert ended.out.split() == ["provider"]


async def test_a_traceback_shows_no_local_variables() -> None:
    """An unexpected error is a plain traceback: the values of local variables may be secrets."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UNEXPECTED_ERROR, "verify", "--config", "gateway.toml"), stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"RuntimeError: unexpected" in err
    assert b"configured" not in err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--session", "tester", "'tester' is not USER:SESSION:GAME"),
        ("--fault", "hagn", "there is no fault 'hagn'"),
        ("--listen", "here", "must be host:port"),
        ("--provider", "unknown", "unknown"),
    ],
)
async def test_simulate_rejects_invalid_options(tmp_path: Path, option: str, value: str, message: str) -> None:
    """`simulate` exits 2 with the invalid value, and does not listen."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"))
    ended = await run_here("simulate", "--config", str(config), "--provider", "lucky", option, value)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


async def test_migrate_makes_a_schema_once(tmp_path: Path, postgres: PostgresServer) -> None:
    """`migrate` prints from which version to which, also when there is nothing to do; on SQLite too."""
    (tmp_path / "empty.toml").write_text(f"[store]\nurl = 'sqlite:///{tmp_path}/gateway.db'\n")
    config = tmp_path / "empty.toml"
    newest = len(migrations("sqlite"))
    for says in (f"from version 0 to version {newest}", "nothing to migrate"):
        done = await run("migrate", "--config", str(config))
        assert (done.code, says in done.out) == (0, True), done
    url = postgres.url(await postgres.create())
    newest = len(migrations("postgres"))
    for says in (f"from version 0 to version {newest}", f"version {newest}: nothing to migrate"):
        owner = ("--store-url-env", "OWNER_URL")
        done = await run("migrate", "--config", str(config), *owner, environ={"OWNER_URL": url})
        assert (done.code, says in done.out) == (0, True), done


async def test_migrate_says_what_is_wrong(tmp_path: Path) -> None:
    """A variable that is not set is a usage error; a database that cannot be reached exits 3, without its password."""
    config = tmp_path / "empty.toml"
    config.write_text("")
    command = ("migrate", "--config", str(config), "--store-url-env", "OWNER_URL")
    assert (await run(*command)).code == 2
    url = "postgresql://u:hunter2@/gateway?host=/nowhere"
    done = await run(*command, environ={"OWNER_URL": url})
    assert done.code == 3
    assert "could not be migrated: database /nowhere/gateway: there is no socket" in done.err
    assert "hunter2" not in done.out + done.err
