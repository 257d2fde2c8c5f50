"""Who may call what, over real servers: each caller and each method of the protos."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
import trustme
from cryptography.x509 import DNSName, GeneralName, RFC822Name, UniformResourceIdentifier
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.config import GrpcServerKind, load
from gateway.rpc.roles import RULES, Role
from gateway.server.gateway import Gateway
from tests.gateway.server.harness import MUTUAL_TLS, issue
from tests.support.callers import (
    EC_KEY,
    JWT,
    METHODS,
    Calling,
    Method,
    bearer,
    certificate_of,
    public_jwk,
    token,
    write_keys,
)
from tests.support.gateway import RpcFailure, configuration, family_table, provider_table

SPIFFE = "spiffe://example.org/mesh"

PROVIDERS = (
    family_table("kyren", "kyren", "http://127.0.0.1:9"),
    provider_table("eliab", "eliab", "http://127.0.0.1:9"),
)

ROLES = {
    **{role.value: [role.value] for role in Role},
    "single": ["SessionService/CloseSession"],
    "bound": [role.value for role in Role],
}
"""The callers, and what each is given. `bound` is bound to one provider."""


def sections(*, certificates: bool) -> str:
    """The configuration of these callers."""
    text = JWT
    for name, roles in ROLES.items():
        text += f'[callers.{name}]\nroles = {roles}\njwt_subject = "{name}"\n'
        text += f'certificate = "dns:{name}.internal"\n' if certificates else ""
        text += 'providers = ["kyren"]\n' if name == "bound" else ""
    if certificates:
        text += f'[callers.mesh]\nroles = ["reader"]\ncertificate = "uri:{SPIFFE}"\n'
        text += '[callers.mail]\nroles = ["reader"]\ncertificate = "email:caller@example.org"\n'
    return text


@dataclass
class Served:
    """A gateway with callers, and channels to it."""

    gateway: Gateway
    address: str
    authority: trustme.CA | None = None
    channels: dict[tuple[bytes, bytes], grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, certificate: tuple[bytes, bytes] | None = None) -> grpc.aio.Channel:
        """A channel with this client certificate; without TLS where the gateway has none."""
        chain, key = certificate or (b"", b"")
        if (chain, key) not in self.channels:
            if self.authority is None:
                self.channels[chain, key] = grpc.aio.insecure_channel(self.address)
            else:
                credentials = grpc.ssl_channel_credentials(self.authority.cert_pem.bytes(), key or None, chain or None)
                self.channels[chain, key] = grpc.aio.secure_channel(self.address, credentials)
        return self.channels[chain, key]

    def named(self, *names: GeneralName, common_name: str = "client") -> Calling:
        """One who presents a certificate of the gateway's authority with these names."""
        assert self.authority is not None
        return Calling(self.channel(certificate_of(self.authority, *names, common_name=common_name)))

    def caller(self, name: str) -> Calling:
        """A configured caller, by its certificate where the gateway asks for one, else by a token."""
        if self.authority is None:
            return Calling(self.channel(), bearer(token(name)))
        key = (b"caller", name.encode())
        if key not in self.channels:
            self.channels[key] = self.named(DNSName(f"{name}.internal")).channel
        return Calling(self.channels[key])

    def rejected(self) -> dict[str, float]:
        """The rejections so far, by reason."""
        body, _ = self.gateway._metrics.render()
        lines = [line for line in body.decode().splitlines() if line.startswith("session_gateway_rpcs_rejected_total")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


@asynccontextmanager
async def serving(folder: Path, kind: GrpcServerKind, *, certificates: bool) -> AsyncIterator[Served]:
    """A gateway with callers; with `certificates` it asks for them."""
    authority = trustme.CA() if certificates else None
    lines = f'server = "{kind}"\n'
    if authority is not None:
        issue(folder, authority)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        lines += MUTUAL_TLS
    write_keys(folder, public_jwk(EC_KEY, kid="ec"))
    config = configuration(folder, sections(certificates=certificates), *PROVIDERS, grpc=lines)
    gateway = Gateway(load(config, {}))
    try:
        served = Served(gateway, (await gateway.start()).grpc, authority)
        yield served
        for channel in {*served.channels.values()}:
            await channel.close()
    finally:
        await gateway.stop()


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A gateway that asks for certificates."""
    async with serving(tmp_path_factory.mktemp("secured"), GrpcServerKind.GRPCIO, certificates=True) as served:
        yield served


@pytest.fixture(
    scope="module",
    params=[(GrpcServerKind.GRPCIO, True), (GrpcServerKind.GRPCIO, False), (GrpcServerKind.NATIVE, False)],
    ids=["grpcio by certificate", "grpcio by token", "native by token"],
)
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A gateway with callers: one that asks for certificates, and each kind of server without TLS."""
    kind, certificates = request.param
    async with serving(tmp_path_factory.mktemp("served"), kind, certificates=certificates) as served:
        yield served


def is_denied(failure: RpcFailure | None) -> bool:
    """Whether a caller that is known was denied."""
    denied = (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED", "NOT_SENT", False)
    if failure is None or failure.reason != "CALLER_NOT_ALLOWED":
        return False
    assert (failure.code, failure.reason, failure.certainty, failure.retry) == denied
    return True


def assert_unknown(failure: RpcFailure | None) -> None:
    """A caller was not known."""
    assert failure is not None
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    assert (failure.certainty, failure.retry) == ("NOT_SENT", False)
    assert "[callers]" in failure.message


async def logged_failure(calling: Calling, method: Method, request: Any = None) -> tuple[RpcFailure | None, Any]:
    """Call a method. Returns how it failed, and its log line if there is one."""
    with structlog.testing.capture_logs() as logged:
        failure = await calling.failure(method, request)
    lines = [line for line in logged if line["event"].startswith("rpc")]
    return failure, lines[0] if lines else None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_each_caller_may_call_what_its_roles_have(served: Served, method: Method) -> None:
    """A caller is denied each method of other roles, and each refusal names it in the log and in the error."""
    for name, roles in ROLES.items():
        allowed = method.name in roles or not {*roles}.isdisjoint(RULES[method.name].roles)
        failure, line = await logged_failure(served.caller(name), method, method.request(provider="kyren"))
        # Of a caller that is bound to providers the next tests say more.
        if name != "bound":
            assert is_denied(failure) != allowed, (name, failure)
        if failure is not None:
            assert line["actor"] == name
        if failure is not None and is_denied(failure):
            assert line["reason"] == "CALLER_NOT_ALLOWED"
            assert f"caller {name} " in failure.message
            assert f"[callers.{name}]" in failure.message


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_one_who_is_not_known_may_call_nothing(served: Served, method: Method) -> None:
    """Without an identity, and with one that no caller has, each method is CALLER_UNKNOWN."""
    before = served.rejected()["CALLER_UNKNOWN"]
    callings = [Calling(served.channel(), bearer(token("nobody")))]
    if served.authority is None:
        callings.append(Calling(served.channel()))
    else:
        callings = [served.named(DNSName("nobody.internal"))]
    for calling in callings:
        assert_unknown(await calling.failure(method))
    assert served.rejected()["CALLER_UNKNOWN"] == before + len(callings)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_a_bound_caller_uses_its_providers_only(served: Served, method: Method) -> None:
    """Another provider, all providers, and a request that names none are denied; its own provider is not."""
    bound = served.caller("bound")
    for provider in ("eliab", "", "KYREN", "kyren ", "x" * 1000):
        failure, line = await logged_failure(bound, method, method.request(provider=provider))
        if RULES[method.name].scope != "STORED":
            assert is_denied(failure), provider
            assert line["actor"] == "bound"
            assert len(str(line)) < 1000
    failure = await bound.failure(method, method.request(provider="kyren"))
    assert is_denied(failure) == (RULES[method.name].scope == "ALL")


async def test_denials_are_counted(served: Served) -> None:
    """Each denial adds one to the counter of its reason, which exists before the first one."""
    before = served.rejected()
    assert before.keys() == {"CALLER_UNKNOWN", "CALLER_NOT_ALLOWED", "GATEWAY_BUSY"}
    (method,) = (method for method in METHODS if method.name == "WalletService/OpenAccount")
    await served.caller("reader").failure(method)
    after = served.rejected()
    assert after["CALLER_NOT_ALLOWED"] == before["CALLER_NOT_ALLOWED"] + 1


async def test_a_request_is_denied_before_it_is_decoded(served: Served) -> None:
    """Bytes that are no message are CALLER_NOT_ALLOWED for one who may not call, and FIELD_INVALID for one who may."""
    reasons = []
    for name in ("reader", "closer"):
        calling = served.caller(name)
        call: Any = calling.channel.unary_unary("/gateway.v1.SessionService/CloseSession")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"\xff\xff\xff", metadata=calling.metadata, timeout=30)
        reasons.append(raised.value.code())
    assert reasons == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT]


async def test_health_and_reflection_are_open(served: Served) -> None:
    """One who is not known may ask for health."""
    certificate = certificate_of(served.authority) if served.authority else None
    stub = health_pb2_grpc.HealthStub(served.channel(certificate))
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


LIST = next(method for method in METHODS if method.name == "SessionService/ListProviders")


@pytest.mark.parametrize("days", [1, -1])
async def test_another_authority_and_an_expired_certificate_get_no_connection(secured: Served, days: int) -> None:
    """A certificate of another authority, one that has expired, and none end the handshake."""
    assert secured.authority is not None
    authority = trustme.CA() if days > 0 else secured.authority
    rejected = certificate_of(authority, DNSName("reader.internal"), days=days)
    for certificate in (rejected, None):
        stub: Any = secured.channel(certificate).unary_unary("/gateway.v1.SessionService/ListProviders")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub(b"", timeout=30)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("names", "common_name", "known"),
    [
        ([DNSName("reader.internal")], "client", True),
        ([DNSName("READER.internal")], "client", True),
        ([DNSName("other.internal"), DNSName("reader.internal")], "client", True),
        ([UniformResourceIdentifier(SPIFFE)], "client", True),
        ([RFC822Name("caller@example.org")], "client", True),
        ([], "reader.internal", False),
        ([UniformResourceIdentifier("reader.internal")], "client", False),
        ([DNSName(SPIFFE)], "client", False),
        ([RFC822Name("reader.internal")], "client", False),
        ([DNSName("caller@example.org")], "client", False),
        ([DNSName("dns:reader.internal")], "client", False),
        ([DNSName("*.internal")], "client", False),
        ([DNSName("x.reader.internal")], "client", False),
        ([DNSName("reader.internal"), DNSName("closer.internal")], "client", False),
    ],
)
async def test_a_name_of_its_kind_identifies(
    secured: Served, names: list[GeneralName], common_name: str, known: bool
) -> None:
    """Only a subject alternative name of the configured kind identifies: no common name, no other kind."""
    failure, line = await logged_failure(secured.named(*names, common_name=common_name), LIST)
    if known:
        assert failure is None
    else:
        assert_unknown(failure)
        assert failure is not None
        assert "certificate" in failure.message
        assert line is None or "certificate" in line["identity"]


@pytest.mark.parametrize(
    ("certificate", "subject", "actor"),
    [("reader", "operator", "reader"), ("nobody", "operator", "operator"), ("reader", "nobody", "reader")],
)
async def test_a_known_certificate_decides_before_a_token(
    secured: Served, certificate: str, subject: str, actor: str
) -> None:
    """A known certificate decides; one that is not known leaves it to the token."""
    channel = secured.named(DNSName(f"{certificate}.internal")).channel
    with structlog.testing.capture_logs() as logged:
        assert await Calling(channel, bearer(token(subject))).failure(LIST) is None
    assert [line["actor"] for line in logged if line["event"] == "rpc"] == [actor]


@pytest.mark.parametrize(
    ("values", "presented"),
    [
        ([f"Bearer {token('reader')}", f"Bearer {token('reader')}"], "several authorization headers"),
        ([f"Bearer {token('reader')}", "Bearer x"], "several authorization headers"),
        ([f"Basic {token('reader')}"], "not Bearer"),
        ([token("reader")], "not Bearer"),
        (["Bearer"], "not Bearer"),
        (["Bearer a.b.c"], "a token that is refused: it is not a JWT"),
        ([f"Bearer {token('x' * 5000)}"], "a token of sub xxx"),
    ],
)
async def test_an_unusable_authorization_identifies_nobody(served: Served, values: list[str], presented: str) -> None:
    """Several headers, another scheme and no JWT are CALLER_UNKNOWN; neither the log nor the error shows a token."""
    served.gateway.rpc_server._interceptor._unknown_callers._samples.clear()
    channel = served.named().channel if served.authority else served.channel()
    metadata = tuple(("authorization", value) for value in values)
    failure, line = await logged_failure(Calling(channel, metadata), LIST)
    assert_unknown(failure)
    assert failure is not None
    assert presented in failure.message
    assert presented in line["identity"]
    assert len(line["identity"]) < 300
    assert not any(len(part) > 8 and part in f"{line} {failure}" for value in values for part in value.split("."))


async def test_a_certificate_that_expires_while_connected_is_not_known(
    secured: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was made while it was valid."""
    calling = secured.named(DNSName("reader.internal"))
    assert await calling.failure(LIST) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400)
    failure = await calling.failure(LIST)
    assert_unknown(failure)
    assert failure is not None
    assert "expired" in failure.message


async def test_each_unknown_source_is_logged_once_at_first(served: Served) -> None:
    """Of many refusals the first of a source is logged with what was presented; the others are only counted."""
    served.gateway.rpc_server._interceptor._unknown_callers._samples.clear()
    calling = served.named() if served.authority else Calling(served.channel())
    before = served.rejected()["CALLER_UNKNOWN"]
    with structlog.testing.capture_logs() as logged:
        for _ in range(5):
            assert_unknown(await calling.failure(LIST))
    (line,) = [line for line in logged if line["event"] == "rpc failed"]
    assert (line["actor"], line["reason"]) == ("anonymous", "CALLER_UNKNOWN")
    assert "127.0.0.1" in line["peer"]
    assert line["identity"] == (
        "a certificate without a subject alternative name" if served.authority else "no identity"
    )
    assert served.rejected()["CALLER_UNKNOWN"] == before + 5


async def test_unknown_callers_take_no_place_of_the_limits(served: Served) -> None:
    """While the calls are at their limit one who is not known is refused as such."""
    limits = served.gateway.rpc_server.limits
    interceptor = served.gateway.rpc_server._interceptor
    interceptor._calls.total += limits.calls
    try:
        known = await served.caller("reader").failure(LIST)
        calling = served.named() if served.authority else Calling(served.channel())
        assert_unknown(await calling.failure(LIST))
    finally:
        interceptor._calls.total -= limits.calls
    assert known is not None
    assert known.reason == "GATEWAY_BUSY"
