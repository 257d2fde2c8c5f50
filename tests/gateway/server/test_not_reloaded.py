"""SIGHUP: a bad configuration changes nothing, says why with the key's path, and the gateway serves on."""

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
def good(provider: ScriptedProvider) -> str:
    return family_table("lucky", "luckymonaco", provider.base_url, token='{ file = "token" }')


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, good: str) -> AsyncIterator[Reloadable]:
    """One that has credited a Result of the provider `lucky`."""
    folder = tmp_path_factory.mktemp("reloaded")
    (folder / "token").write_text("a-token")
    tls = trustme.CA().issue_cert("localhost")
    tls.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "key.pem").write_text("no key")
    environ = {**os.environ, "KNOWN": "a-secret"}
    async with reloadable(folder, good, environ=environ) as gateway, aiohttp.ClientSession() as http:
        await gateway.serving.open_account()
        assert (await gateway.serving.deliver(http, result_body()))["error"] == 0
        yield gateway
        await gateway.serving.stop()


def changed(good: str, **keys: str) -> str:
    """The good table with other values, or more of them."""
    lines = [line for line in good.splitlines() if line.partition(" ")[0] not in keys]
    return "\n".join((*lines, *(f"{key} = {value}" for key, value in keys.items())))


BAD = {
    "unknown-key": ({"callbak_keys": "[]"}, "providers.lucky.callbak_keys", "did you mean callback_keys"),
    "unset-variable": ({"token": '{ env = "NOBODY_HAS_SET_THIS" }'}, "providers.lucky.token", "is not set"),
    "missing-file": ({"token": '{ file = "missing" }'}, "providers.lucky.token", "cannot be read"),
    "no-such-adapter": ({"adapter": '"acme"'}, "providers.lucky.adapter", "There is no adapter"),
    "adapters-key": ({"secure_login": "7"}, "providers.lucky.secure_login", "expected `str`"),
    "strange-key": ({"sekure_login": '"x"'}, "providers.lucky.sekure_login", "did you mean secure_login"),
    "base-url": ({"base_url": '"ftp://provider.example"'}, "providers.lucky.base_url", "http"),
    "callback-key": ({"callback_keys": '["a/b"]'}, "providers.lucky.callback_keys[0]", "part of a URL"),
    "limit": ({"limits": "{ max_concurrent_calls = 0 }"}, "providers.lucky.limits.max_concurrent_calls", "1"),
}
"""Keys of a provider, and the path and a word of what is said of them."""


@pytest.mark.parametrize(("keys", "path", "word"), BAD.values(), ids=BAD)
async def test_a_provider_that_cannot_be(
    gateway: Reloadable, good: str, keys: dict[str, str], path: str, word: str
) -> None:
    line = await gateway.reload(changed(good, **keys))
    await holds(gateway, line, path, word)


async def test_what_takes_a_restart(gateway: Reloadable, good: str) -> None:
    """Each key that belongs to a listener, the store or the wallet is named, all at once."""
    configuration(gateway.config.parent, good, '[wallet]\ntarget = "elsewhere.example:443"\n')
    text = gateway.config.read_text()
    for port, section in enumerate(("callbacks", "admin"), 1):
        text = text.replace(f'[{section}]\nlisten = "127.0.0.1:0"', f'[{section}]\nlisten = "127.0.0.1:{port}"')
    text = text.replace('[grpc]\nlisten = "127.0.0.1:0"', '[grpc]\nserver = "native"\nlisten = "127.0.0.3:0"')
    gateway.config.write_text(text.replace("gateway.db", "another.db").replace("[store]", "[store]\npool_size = 5"))
    (line,) = await gateway.hang_up()
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
    await holds(gateway, line, "store.url", RESTART)
    assert not (gateway.config.parent / "another.db").exists()


async def test_certificates_that_cannot_be_used(gateway: Reloadable, good: str) -> None:
    """They are told beside the listener's new key, which would take a restart."""
    line = await gateway.reload(good, grpc='tls = { cert = "cert.pem", key = "key.pem" }')
    assert [problem["path"] for problem in line["problems"]] == ["grpc.tls", "grpc.tls"]
    await holds(gateway, line, "grpc.tls", "cannot be used")


async def test_a_provider_whose_references_are_kept_cannot_be_forgotten(gateway: Reloadable) -> None:
    """It has credited, and could be paid twice under another name."""
    line = await gateway.reload()
    await holds(gateway, line, "providers.lucky", "retired = true")


async def test_what_is_no_configuration(gateway: Reloadable, good: str) -> None:
    """No TOML, no text, no file."""
    gateway.config.write_text("[grpc\n")
    (line,) = await gateway.hang_up()
    await holds(gateway, line, "", "is not TOML")
    gateway.config.write_bytes(b"\xff")
    (line,) = await gateway.hang_up()
    await holds(gateway, line, "", "is not UTF-8")
    gateway.config.unlink()
    (line,) = await gateway.hang_up()
    await holds(gateway, line, "", "cannot be read")


async def test_nothing_of_a_bad_file_is_taken_on(gateway: Reloadable, good: str, provider: ScriptedProvider) -> None:
    """Not a level, a key or a provider of those that are good; once it is mended, all of them."""
    key, moved = "n" * 40, changed(good, callback_keys=f'["{"n" * 40}"]')
    other = family_table("other", "luckymonaco", provider.base_url)
    level = '[log]\nlevel = "debug"\n'
    line = await gateway.reload(moved, other, level, "[providers.bad]\n")
    assert [problem["path"] for problem in line["problems"]] == ["providers.bad.adapter", "providers.bad.base_url"]
    await holds(gateway, line, "providers.bad.adapter", "is missing")
    assert (await gateway.refused("other")).reason == "PROVIDER_UNKNOWN"
    assert await delivered(gateway, key) == 404
    line = await gateway.reload(moved, other, level)
    assert line["event"] == "configuration reloaded"
    assert (line["added"], line["changed"]) == (["other"], ["log.level", "providers.lucky.callback_keys"])
    assert [await delivered(gateway, key), await delivered(gateway, callback_key("lucky"))] == [200, 404]
    await gateway.reload(good)


async def delivered(gateway: Reloadable, key: str) -> int:
    """What a callback with this key is answered."""
    url = f"http://{gateway.serving.said['callbacks']}/callbacks/lucky/{key}/V4/Result"
    async with aiohttp.ClientSession() as http, http.post(url, data=result_body()) as response:
        return response.status


async def holds(gateway: Reloadable, line: dict[str, object], path: str, word: str) -> None:
    """The line names the key and says why, and all is as before."""
    assert line["event"] == "configuration not reloaded: nothing has changed"
    assert line["level"] == "error"
    problems = line["problems"]
    assert isinstance(problems, list)
    assert [path for problem in problems if problem["path"] == path and word in problem["message"]] == [path], problems
    assert (await gateway.close()).outcome == OUTCOME_CLOSED
    assert await delivered(gateway, callback_key("lucky")) == 200
