"""SIGHUP: an invalid configuration changes nothing, and the log has the path of each problem."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import trustme

from gateway.v1.session_service_pb2 import OUTCOME_CLOSED
from tests.support.gateway import callback_key, configuration, family_table
from tests.support.provider import ScriptedProvider, scripted_provider
from tests.support.reloadable import Reloadable, reloadable
from tests.support.results import result_body

RESTART = "cannot change while the gateway runs"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def valid(provider: ScriptedProvider) -> str:
    return family_table("lucky", "luckymonaco", provider.base_url, token='{ file = "token" }')


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, valid: str) -> AsyncIterator[Reloadable]:
    """A gateway that has credited a Result of the provider `lucky`."""
    folder = tmp_path_factory.mktemp("reloaded")
    (folder / "token").write_text("a-token")
    tls = trustme.CA().issue_cert("localhost")
    tls.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "key.pem").write_text("no key")
    environ = {**os.environ, "KNOWN": "a-secret"}
    async with reloadable(folder, valid, environ=environ) as gateway, aiohttp.ClientSession() as http:
        await gateway.serving.open_account()
        assert (await gateway.serving.deliver(http, result_body()))["error"] == 0
        yield gateway
        await gateway.serving.stop()


def changed(valid: str, **keys: str) -> str:
    """The valid table with other values, or more of them."""
    lines = [line for line in valid.splitlines() if line.partition(" ")[0] not in keys]
    return "\n".join((*lines, *(f"{key} = {value}" for key, value in keys.items())))


INVALID = {
    "unknown-key": ({"callbak_keys": "[]"}, "providers.lucky.callbak_keys", "did you mean callback_keys"),
    "unset-variable": ({"token": '{ env = "IS_NOT_SET" }'}, "providers.lucky.token", "is not set"),
    "missing-file": ({"token": '{ file = "missing" }'}, "providers.lucky.token", "cannot be read"),
    "no-such-adapter": ({"adapter": '"acme"'}, "providers.lucky.adapter", "There is no adapter"),
    "adapters-key": ({"secure_login": "7"}, "providers.lucky.secure_login", "expected `str`"),
    "misspelt-key": ({"sekure_login": '"x"'}, "providers.lucky.sekure_login", "did you mean secure_login"),
    "base-url": ({"base_url": '"ftp://provider.example"'}, "providers.lucky.base_url", "http"),
    "callback-key": ({"callback_keys": '["a/b"]'}, "providers.lucky.callback_keys[0]", "part of a URL"),
    "limit": ({"limits": "{ max_concurrent_calls = 0 }"}, "providers.lucky.limits.max_concurrent_calls", "1"),
}
"""Keys of a provider, and the path and a part of the problem's message."""


@pytest.mark.parametrize(("keys", "path", "word"), INVALID.values(), ids=INVALID)
async def test_an_invalid_provider_is_refused(
    gateway: Reloadable, valid: str, keys: dict[str, str], path: str, word: str
) -> None:
    """An invalid value of a provider's key is reported with its path."""
    line = await gateway.reload(changed(valid, **keys))
    await check_refused(gateway, line, path, word)


async def test_what_requires_a_restart_is_refused(gateway: Reloadable, valid: str) -> None:
    """All changed keys of listeners, the store and the wallet are reported at once."""
    configuration(gateway.config.parent, valid, '[wallet]\ntarget = "elsewhere.example:443"\n')
    text = gateway.config.read_text()
    for port, section in enumerate(("callbacks", "admin"), 1):
        text = text.replace(f'[{section}]\nlisten = "127.0.0.1:0"', f'[{section}]\nlisten = "127.0.0.1:{port}"')
    text = text.replace('[grpc]\nlisten = "127.0.0.1:0"', '[grpc]\nserver = "native"\nlisten = "127.0.0.3:0"')
    gateway.config.write_text(text.replace("gateway.db", "another.db").replace("[store]", "[store]\npool_size = 5"))
    (line,) = await gateway.send_sighup()
    paths = [problem["path"] for problem in line["problems"] if RESTART in problem["message"]]
    assert paths == [
        "grpc.listen",
        "grpc.server",
        "callbacks.listen",
        "admin.listen",
        "store.url",
        "store.pool_size",
        "wallet.target",
    ]
    await check_refused(gateway, line, "store.url", RESTART)
    assert not (gateway.config.parent / "another.db").exists()


async def test_an_unusable_certificate_is_refused(gateway: Reloadable, valid: str) -> None:
    """It is reported together with the new tls key, which requires a restart."""
    line = await gateway.reload(valid, grpc='tls = { cert = "cert.pem", key = "key.pem" }')
    assert [problem["path"] for problem in line["problems"]] == ["grpc.tls", "grpc.tls"]
    await check_refused(gateway, line, "grpc.tls", "cannot be used")


async def test_a_provider_with_stored_references_cannot_be_removed(gateway: Reloadable) -> None:
    """A provider that has credited can only be retired: its references could be paid again under another name."""
    line = await gateway.reload()
    await check_refused(gateway, line, "providers.lucky", "retired = true")


async def test_an_unreadable_file_is_refused(gateway: Reloadable, valid: str) -> None:
    """A file that is not TOML, not text, or missing is reported."""
    gateway.config.write_text("[grpc\n")
    (line,) = await gateway.send_sighup()
    await check_refused(gateway, line, "", "is not TOML")
    gateway.config.write_bytes(b"\xff")
    (line,) = await gateway.send_sighup()
    await check_refused(gateway, line, "", "is not UTF-8")
    gateway.config.unlink()
    (line,) = await gateway.send_sighup()
    await check_refused(gateway, line, "", "cannot be read")


async def test_nothing_of_an_invalid_file_is_applied(
    gateway: Reloadable, valid: str, provider: ScriptedProvider
) -> None:
    """None of its valid changes is applied; once the file is fixed, all are."""
    key, moved = "n" * 40, changed(valid, callback_keys=f'["{"n" * 40}"]')
    other = family_table("other", "luckymonaco", provider.base_url)
    level = '[log]\nlevel = "debug"\n'
    line = await gateway.reload(moved, other, level, "[providers.bad]\n")
    assert [problem["path"] for problem in line["problems"]] == ["providers.bad.adapter", "providers.bad.base_url"]
    await check_refused(gateway, line, "providers.bad.adapter", "is missing")
    assert (await gateway.close_failure("other")).reason == "PROVIDER_UNKNOWN"
    assert await callback_status(gateway, key) == 404
    line = await gateway.reload(moved, other, level)
    assert line["event"] == "configuration reloaded"
    assert (line["added"], line["changed"]) == (["other"], ["log.level", "providers.lucky.callback_keys"])
    assert [await callback_status(gateway, key), await callback_status(gateway, callback_key("lucky"))] == [200, 404]
    await gateway.reload(valid)


async def callback_status(gateway: Reloadable, key: str) -> int:
    """The status of a callback with this key."""
    url = f"http://{gateway.serving.ready_message['callbacks']}/callbacks/lucky/{key}/V4/Result"
    async with aiohttp.ClientSession() as http, http.post(url, data=result_body()) as response:
        return response.status


async def check_refused(gateway: Reloadable, line: dict[str, object], path: str, word: str) -> None:
    """The log line has the path and the reason, and the gateway serves as before."""
    assert line["event"] == "configuration not reloaded: nothing has changed"
    assert line["level"] == "error"
    problems = line["problems"]
    assert isinstance(problems, list)
    assert [path for problem in problems if problem["path"] == path and word in problem["message"]] == [path], problems
    assert (await gateway.close()).outcome == OUTCOME_CLOSED
    assert await callback_status(gateway, callback_key("lucky")) == 200
