"""From `[wallet]` to a wallet: what the configuration can name, and what it cannot."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import trustme

from gateway.config import ConfigInvalid, GrpcSettings, Listen, Settings, WalletSettings, load
from gateway.server.gateway import Gateway
from gateway.server.wallets import calls_itself
from gateway.v1 import wallet_service_pb2 as pb
from tests.support.gateway import configuration, family_table, running_gateway
from tests.support.process import run, run_here, serving
from tests.support.results import result_body
from tests.support.wallet import answering, scripted_wallet

LUCKY = family_table("lucky", "luckymonaco", "http://127.0.0.1:9")
RESULT = result_body()


def wallet_table(**keys: str) -> str:
    """The section of the wallet; the keys hold TOML values."""
    return "[wallet]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


class Authority:
    """An authority with its files in a folder: its own, and those that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    def issue(self, name: str) -> trustme.LeafCert:
        """A certificate for that name, in `cert.pem` and `key.pem`."""
        certificate = self._authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(str(self._folder / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(self._folder / "key.pem"))
        return certificate

    def serving(self) -> grpc.ServerCredentials:
        """What a wallet shows that demands a certificate of this authority."""
        certificate = self._authority.issue_cert("127.0.0.1")
        return grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())],
            root_certificates=self._authority.cert_pem.bytes(),
            require_client_auth=True,
        )


async def test_the_files_of_wallet_tls_are_used(tmp_path: Path) -> None:
    """A gateway with ca, cert and key reaches a wallet that demands them, and is ready."""
    authority = Authority(tmp_path)
    authority.issue("gateway.example.com")
    tls = '{ ca = "ca.pem", cert = "cert.pem", key = "key.pem" }'
    async with scripted_wallet(credentials=authority.serving()) as wallet:
        wallet.behaviour = answering(bonus="1.50")
        section = wallet_table(target=f'"{wallet.target}"', tls=tls)
        async with running_gateway(tmp_path, LUCKY, section) as gateway:
            _, body = await gateway.callback("lucky", "V4/Result", RESULT)
            reply: dict[str, Any] = json.loads(body, parse_float=Decimal)
            assert (reply["error"], reply["transactionId"], reply["bonus"]) == (0, "wallet-1", Decimal("1.50"))
            async with gateway.http.get(f"http://{gateway.listening.admin}/readyz") as response:
                assert response.status == 200


async def test_a_process_with_the_wrong_authority_says_so_in_json(tmp_path: Path) -> None:
    """Where the wallet is another authority's the provider is answered 998, and each line of the log is JSON."""
    other = tmp_path / "other"
    other.mkdir()
    Authority(tmp_path)
    async with scripted_wallet(credentials=Authority(other).serving()) as wallet:
        config = configuration(tmp_path, LUCKY, wallet_table(target=f'"{wallet.target}"', tls='{ ca = "ca.pem" }'))
        async with serving(config) as gateway, aiohttp.ClientSession() as http:
            assert (await gateway.deliver(http, RESULT))["error"] == 998
    lines = [json.loads(line) for line in config.with_suffix(".log").read_text().splitlines()]
    (misconfigured,) = [line for line in lines if line["level"] == "error"]
    assert "check wallet.tls" in misconfigured["error"]


async def test_the_time_of_an_attempt_is_the_configurations(tmp_path: Path) -> None:
    """With a longer attempt_timeout_s a wallet that hangs is asked less often within the same credit timeout."""
    asked = []
    for timeout_s in ("0.5", "3.0"):
        async with scripted_wallet() as wallet:

            async def noting(request: Any, context: Any) -> Any:
                asked.append(context.time_remaining())
                return await answering()(request, context)

            wallet.behaviour = noting
            section = wallet_table(target=f'"{wallet.target}"', attempt_timeout_s=timeout_s)
            async with running_gateway(tmp_path, LUCKY, section) as gateway:
                await gateway.callback("lucky", "V4/Result", RESULT)
    assert asked[0] < 0.6 < asked[1] < 3.1


@pytest.mark.parametrize(
    "broken", ['{ ca = "gateway.toml" }', '{ cert = "cert.pem", key = "other.pem" }'], ids=["no PEM", "another's key"]
)
async def test_files_that_tls_cannot_use_are_refused(tmp_path: Path, broken: str) -> None:
    """`check` and the start name wallet.tls where its files are no certificates, or not of each other."""
    authority = Authority(tmp_path)
    key = authority.issue("one").private_key_pem
    key.write_to_path(str(tmp_path / "other.pem"))
    authority.issue("two")
    config = configuration(tmp_path, LUCKY, wallet_table(target='"dns:///wallet.example.com:443"', tls=broken))
    with pytest.raises(ConfigInvalid) as raised:
        Gateway(load(config, {}))
    assert [problem.path for problem in raised.value.problems] == ["wallet.tls"]
    refused = await run_here("check", "--config", str(config))
    assert refused.code == 2
    assert "wallet.tls: cannot be used" in refused.err


@pytest.mark.parametrize(
    ("target", "host", "itself"),
    [
        ("dns:///127.0.0.1:50051", "127.0.0.1", True),
        ("dns:127.0.0.1:50051", "127.0.0.1", True),
        ("127.0.0.1:50051", "127.0.0.1", True),
        ("ipv4:127.0.0.1:50051", "127.0.0.1", True),
        ("dns:///localhost:50051", "127.0.0.1", True),
        ("dns:///[::1]:50051", "::1", True),
        ("ipv6:[::1]:50051", "::1", True),
        ("dns://8.8.8.8/LocalHost:50051", "127.0.0.1", True),
        ("dns:///127.0.0.1:50051", "0.0.0.0", True),  # noqa: S104 - a listener's address, as a file may give it
        ("dns:///localhost:50051", "::", True),
        ("dns:///10.0.0.7:50051", "10.0.0.7", True),
        ("dns:///gateway.internal:50051", "gateway.internal", True),
        ("dns:///127.0.0.1:50052", "127.0.0.1", False),
        ("dns:///wallet.internal:50051", "127.0.0.1", False),
        ("dns:///127.0.0.1:50051", "10.0.0.7", False),
        ("dns:///wallet.internal:50051", "0.0.0.0", False),  # noqa: S104
        ("dns:///127.0.0.1", "127.0.0.1", False),
        ("unix:/run/wallet:50051", "127.0.0.1", False),
        ("builtin", "127.0.0.1", False),
    ],
)
def test_a_gateway_is_not_its_own_wallet(target: str, host: str, itself: bool) -> None:
    """A target that is where this gateway listens is refused, however it is written; any other is not."""
    settings = Settings(grpc=GrpcSettings(listen=Listen(host, 50051)), wallet=WalletSettings(target=target))
    assert [problem.path for problem in calls_itself(settings)] == ["wallet.target"] * itself


def test_a_port_of_the_systems_choice_is_nobodys() -> None:
    """Where [grpc] takes a free port, no target can be known to be it."""
    settings = Settings(
        grpc=GrpcSettings(listen=Listen("127.0.0.1", 0)), wallet=WalletSettings(target="dns:///127.0.0.1:0")
    )
    assert not calls_itself(settings)


async def test_check_and_serve_refuse_a_gateway_that_is_its_own_wallet(tmp_path: Path) -> None:
    """Both say that wallet.target is this gateway, and serve nothing."""
    config = configuration(tmp_path, LUCKY, wallet_table(target='"dns:///localhost:50051"'))
    config.write_text(config.read_text().replace("127.0.0.1:0", "127.0.0.1:50051", 1))
    for command in ("check", "serve"):
        refused = await run(command, "--config", str(config))
        assert refused.code == 2
        assert "wallet.target: is this gateway's own grpc.listen" in refused.err
        assert "Traceback" not in refused.err


async def test_another_wallet_than_before_is_refused_until_it_took_over(tmp_path: Path, store_url: str) -> None:
    """What one wallet credited another does not know: `check` and the start refuse it, either way round."""
    async with scripted_wallet() as wallet:
        operators = wallet_table(target=f'"{wallet.target}"')
        async with running_gateway(tmp_path, LUCKY, operators, store=store_url) as gateway:
            _, answer = await gateway.callback("lucky", "V4/Result", RESULT)
            assert json.loads(answer)["error"] == 0
        refusal = "wallet.target: is another wallet than before: the store holds what the operator's wallet credited"
        path = configuration(tmp_path, LUCKY, store=store_url)
        with pytest.raises(ConfigInvalid, match=refusal):
            await Gateway(load(path, {})).start()
        checked = await run_here("check", "--config", str(path))
        assert (checked.code, refusal in checked.err) == (2, True)
        references_migrated = wallet_table(references_migrated="true")
        async with running_gateway(tmp_path, LUCKY, references_migrated, store=store_url) as gateway:
            await gateway.wallet.OpenAccount(pb.OpenAccountRequest(user_id="421", currency="USD"))
            _, answer = await gateway.callback("lucky", "V4/Result", result_body("another"))
            assert json.loads(answer)["error"] == 0
        path = configuration(tmp_path, LUCKY, operators, store=store_url)
        with pytest.raises(ConfigInvalid, match="holds what the built-in ledger credited"):
            await Gateway(load(path, {})).start()


async def test_a_gateway_and_its_wallet_do_not_share_a_database(tmp_path: Path, store_url: str) -> None:
    """A wallet does not start on what a gateway has kept of another wallet's credits."""
    async with scripted_wallet() as wallet:
        operators = wallet_table(target=f'"{wallet.target}"')
        async with running_gateway(tmp_path, LUCKY, operators, store=store_url) as gateway:
            await gateway.callback("lucky", "V4/Result", RESULT)
    refused = await run("wallet", "--config", str(configuration(tmp_path, store=store_url)))
    assert (refused.code, "is another wallet than before" in refused.err) == (2, True)
