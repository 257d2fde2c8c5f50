"""Certificates that expire, of every file that a configuration names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from gateway.config import ConfigInvalid, load
from gateway.server.certificates import expiring, unusable, validities
from tests.gateway.server.harness import MUTUAL_TLS, TLS, add_callback_tls, issue
from tests.support.gateway import configuration, family_table, running_gateway
from tests.support.process import run_here

WALLET = (
    '[wallet]\ntarget = "dns:///wallet.example.com:443"\ntls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }\n'
)
PROVIDER = family_table("lucky", "luckymonaco", "https://provider.example", tls='{ ca = "ca.pem" }')


def write(folder: Path, ends: datetime, begins: datetime | None = None) -> None:
    """A certificate of the listeners that is valid until then."""
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=ends, not_before=begins)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def test_every_named_certificate_is_found(tmp_path: Path) -> None:
    """Certificates and authorities of listeners, of the wallet and of providers, by the path of their key."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issue(tmp_path, authority)
    config = configuration(tmp_path, WALLET, PROVIDER, grpc=MUTUAL_TLS)
    add_callback_tls(config, TLS)
    assert [each.path for each in validities(load(config, {}))] == [
        "grpc.tls.cert",
        "grpc.tls.client_ca",
        "callbacks.tls.cert",
        "wallet.tls.ca",
        "wallet.tls.cert",
        "providers.lucky.tls.ca",
    ]


def test_it_is_reported_by_its_time(tmp_path: Path) -> None:
    """Before its time and after it, it is a problem; in its last 30 days it is a warning; until then it is neither."""
    begins, ends = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    write(tmp_path, ends, begins)
    found = validities(load(configuration(tmp_path, grpc=TLS), {}))
    second, day = timedelta(seconds=1), timedelta(days=1)
    for now, problems, warnings in (
        (begins - second, 1, 0),
        (begins, 0, 0),
        (ends - 30 * day - second, 0, 0),
        (ends - 30 * day, 0, 1),
        (ends - second, 0, 1),
        (ends, 1, 0),
    ):
        assert (len(unusable(found, now)), len(expiring(found, now))) == (problems, warnings), now
    (problem,) = unusable(found, ends)
    assert str(problem).startswith("grpc.tls.cert: expired at 2031-01-01 00:00:00Z")


def test_an_authority_may_be_replaced_beside_the_former_one(tmp_path: Path) -> None:
    """A file with an expired authority and a valid one is a warning; without a valid one it is a problem."""
    now = datetime.now(UTC)
    issue(tmp_path, trustme.CA())
    old, new = (trustme.CA().issue_cert("any", not_after=now + timedelta(days=days)) for days in (-1, 90))
    pem = old.cert_chain_pems[0].bytes()
    (tmp_path / "ca.pem").write_bytes(pem + new.cert_chain_pems[0].bytes())
    config = configuration(tmp_path, grpc=MUTUAL_TLS)

    def found() -> tuple[list[str], list[str]]:
        read = validities(load(config, {}))
        return [each.path for each in unusable(read, now)], [each.path for each in expiring(read, now)]

    assert found() == ([], ["grpc.tls.client_ca"])
    (tmp_path / "ca.pem").write_bytes(pem)
    assert found() == (["grpc.tls.client_ca"], [])


async def test_a_gateway_serves_with_an_expired_certificate(tmp_path: Path) -> None:
    """It logs an error. A reload keeps that certificate, takes a valid one, and then refuses an expired one."""
    now = datetime.now(UTC)

    def metric() -> tuple[str, float]:
        name = "session_gateway_certificate_not_after_seconds"
        lines = gateway.gateway._metrics.render()[0].decode().splitlines()
        (found,) = [line.removeprefix(name).split() for line in lines if line.startswith(name)]
        return found[0], float(found[1])

    async def reload() -> None:
        await gateway.gateway.reload(load(configuration(tmp_path, grpc=TLS), {}))

    write(tmp_path, now - timedelta(days=1))
    with capture_logs() as logs:
        async with running_gateway(tmp_path, grpc=TLS) as gateway:
            assert [each["path"] for each in logs if each["event"] == "certificate is not valid"] == ["grpc.tls.cert"]
            await reload()
            ends = (now + timedelta(days=7)).replace(microsecond=0)
            write(tmp_path, ends)
            await reload()
            assert metric() == ('{file="grpc.tls.cert"}', ends.timestamp())
            write(tmp_path, now - timedelta(days=1))
            with pytest.raises(ConfigInvalid) as refused:
                await reload()
            assert [problem.path for problem in refused.value.problems] == ["grpc.tls.cert"]
            assert metric()[1] == ends.timestamp()
    assert [each["event"] for each in logs].count("certificate expires soon") == 1


async def test_check_refuses_an_expired_certificate_and_warns_before(tmp_path: Path) -> None:
    """With the path of the key and the time; a warning does not fail it."""
    config = configuration(tmp_path, grpc=TLS)
    for days, code, words in ((-1, 2, "grpc.tls.cert: expired at"), (7, 0, "grpc.tls.cert: holds a certificate that")):
        write(tmp_path, datetime.now(UTC) + timedelta(days=days))
        checked = await run_here("check", "--config", str(config))
        assert checked.code == code
        assert words in checked.err
