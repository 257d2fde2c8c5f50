"""Callers of a whole server: what `check` refuses, SIGHUP, the wallet's server, and reflection."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.config import ConfigInvalid, GrpcServerKind, load
from gateway.server.gateway import Gateway
from gateway.server.wallet_server import WalletServer
from tests.support.callers import EC_KEY, JWT, METHODS, OTHER_KEY, Calling, bearer, public_jwk, token, write_keys
from tests.support.gateway import configuration, family_table, running_gateway
from tests.support.process import run_here
from tests.support.reloadable import reloadable

READER = '[callers.reader]\njwt_subject = "reader"\nroles = {}\n'
PROVIDER = family_table("kyren", "kyren", "http://127.0.0.1:9")

LIST, OPEN, APPLY, BALANCE = (
    next(method for method in METHODS if method.name == name)
    for name in (
        "SessionService/ListProviders",
        "WalletService/OpenAccount",
        "WalletService/ApplyResult",
        "WalletService/GetBalance",
    )
)

FIRST, NEXT = public_jwk(EC_KEY, kid="ec"), public_jwk(OTHER_KEY, kid="next")


def problems(folder: Path, *sections: str) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as refused:
        Gateway(load(configuration(folder, *sections), {}))
    return {problem.path: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize("role", ["admin", "reades", "SessionService/Close", "closesession/CloseSession"])
def test_unknown_roles_and_methods_are_refused(tmp_path: Path, role: str) -> None:
    """The problem has the index of the role, and names the roles."""
    write_keys(tmp_path, FIRST)
    found = problems(tmp_path, JWT, READER.format(["reader", role]))
    assert list(found) == ["callers.reader.roles[1]"]
    assert "operator" in found["callers.reader.roles[1]"]


async def test_unknown_providers_are_refused(tmp_path: Path) -> None:
    """A caller may be bound to configured providers only; `check` prints the path too."""
    write_keys(tmp_path, FIRST)
    text = READER.format(["reader"]) + 'providers = ["kyren", "kyrem"]\n'
    found = problems(tmp_path, PROVIDER, JWT, text)
    assert list(found) == ["callers.reader.providers[1]"]
    assert "kyren" in found["callers.reader.providers[1]"]
    checked = await run_here("check", "--config", str(tmp_path / "gateway.toml"))
    assert checked.code == 2
    assert "callers.reader.providers[1]" in checked.err + checked.out


@pytest.mark.parametrize("keys", ['{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no JSON"])
def test_an_unusable_key_file_is_refused(tmp_path: Path, keys: str) -> None:
    """The problem has the path of the key, and shows no key."""
    (tmp_path / "jwks.json").write_text(keys)
    found = problems(tmp_path, JWT, READER.format(["reader"]))
    assert list(found) == ["jwt.jwks_file"]
    assert "c2VjcmV0" not in str(found)


async def test_sighup_rotates_keys_and_changes_roles(tmp_path: Path) -> None:
    """Keys, roles and callers are those of the last reload; a key file that cannot be used changes nothing."""
    write_keys(tmp_path, FIRST)
    reader = READER.format(["reader"])
    old, new = token(), token(key=OTHER_KEY, kid="next")
    async with reloadable(tmp_path, PROVIDER, JWT, reader) as gateway:

        async def reasons() -> list[str]:
            failures = [await Calling(gateway.channel, bearer(each)).failure(LIST) for each in (old, new)]
            return [failure.reason if failure else "" for failure in failures]

        assert await reasons() == ["", "CALLER_UNKNOWN"]
        write_keys(tmp_path, FIRST, NEXT)
        await gateway.send_sighup()
        assert await reasons() == ["", ""]
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": []}))
        (line,) = await gateway.send_sighup()
        assert [problem["path"] for problem in line["problems"]] == ["jwt.jwks_file"]
        assert await reasons() == ["", ""]
        write_keys(tmp_path, NEXT)
        await gateway.send_sighup()
        assert await reasons() == ["CALLER_UNKNOWN", ""]
        line = await gateway.reload(PROVIDER, JWT, READER.format(["closer"]))
        assert line["changed"] == ["callers.reader.roles"]
        assert await reasons() == ["CALLER_UNKNOWN", "CALLER_NOT_ALLOWED"]
        log = gateway.config.with_suffix(".log").read_text()
        assert not any(each in log for value in (old, new) for each in value.split("."))


@pytest.mark.parametrize("server", list(GrpcServerKind))
async def test_the_wallets_server_has_the_same_callers(tmp_path: Path, server: GrpcServerKind) -> None:
    """`session-gateway wallet` knows the same callers by the same rules, bound to providers that it does not have."""
    write_keys(tmp_path, FIRST)
    callers = (
        '[callers.wallet]\njwt_subject = "wallet"\nroles = ["wallet"]\n'
        '[callers.bound]\njwt_subject = "bound"\nroles = ["wallet"]\nproviders = ["kyren"]\n'
    )
    config = configuration(tmp_path, JWT, callers, READER.format(["reader"]), grpc=f'server = "{server}"')
    wallet = WalletServer(load(config, {}))
    listening = await wallet.start()
    try:
        async with grpc.aio.insecure_channel(listening.grpc) as channel:
            found = {}
            for name in ("nobody", "reader", "wallet", "bound"):
                for method in (OPEN, APPLY, BALANCE):
                    request = method.request(user_id="421", currency="EUR", provider="kyren")
                    failure = await Calling(channel, bearer(token(name))).failure(method, request)
                    found[name, method] = failure.reason if failure else ""
    finally:
        await wallet.stop()
    expected = {
        "nobody": ["CALLER_UNKNOWN", "CALLER_UNKNOWN", "CALLER_UNKNOWN"],
        "reader": ["CALLER_NOT_ALLOWED", "CALLER_NOT_ALLOWED", "ACCOUNT_UNKNOWN"],
        "wallet": ["", "FIELD_INVALID", ""],
        "bound": ["CALLER_NOT_ALLOWED", "FIELD_INVALID", "CALLER_NOT_ALLOWED"],
    }
    assert found == {
        (name, method): reason
        for name, each in expected.items()
        for method, reason in zip((OPEN, APPLY, BALANCE), each, strict=True)
    }


def test_the_wallets_server_refuses_what_a_gateway_refuses(tmp_path: Path) -> None:
    """Unknown roles and unusable keys are refused by the wallet's server too."""
    write_keys(tmp_path)
    config = configuration(tmp_path, JWT, READER.format(["admin"]))
    with pytest.raises(ConfigInvalid) as refused:
        WalletServer(load(config, {}))
    assert [problem.path for problem in refused.value.problems] == ["callers.reader.roles[0]", "jwt.jwks_file"]


@pytest.mark.parametrize("server", list(GrpcServerKind))
@pytest.mark.parametrize("enabled", [True, False])
async def test_reflection_can_be_closed(tmp_path: Path, server: GrpcServerKind, enabled: bool) -> None:
    """Reflection is open to callers that are not known, and closed with `reflection = false`."""
    write_keys(tmp_path, FIRST)
    lines = f'server = "{server}"\nreflection = {str(enabled).lower()}'
    async with running_gateway(tmp_path, JWT, READER.format(["reader"]), grpc=lines) as running:
        # Nothing is sent where it is closed: if the stream ends before a request is written, grpc.aio's client reports
        # INTERNAL in place of the status that the server sent (grpc/grpc#36066).
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")] if enabled else []
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        answers: Any = stub.ServerReflectionInfo(iter(asked))
        if enabled:
            answer = await answers.read()
            assert "gateway.v1.SessionService" in {each.name for each in answer.list_services_response.service}
        else:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await answers.read()
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
