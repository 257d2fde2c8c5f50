"""Who may call what: each kind of identity and each method of the protos, against gateway processes."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme
from cryptography.x509 import DNSName

from gateway.config import GrpcServerKind
from gateway.rpc.roles import RULES, ProviderScope, Role
from tests.gateway.server.harness import MUTUAL_TLS, issue
from tests.stress.figures import Figures, exactly
from tests.stress.processes import StressEnvironment, running
from tests.stress.sending import PROVIDER
from tests.support.callers import (
    EC_KEY,
    JWT,
    METHODS,
    OTHER_KEY,
    Calling,
    Method,
    bearer,
    certificate_of,
    public_jwk,
    token,
    write_keys,
)
from tests.support.gateway import failure_of, family_table

OF_RECORDS = frozenset(name for name, rule in RULES.items() if rule.scope is ProviderScope.STORED)
"""They are refused once the record is read: here there is none."""
NO_CONNECTION = "no connection"
SINGLE = "SessionService/CloseSession"
CALLERS = {**{role.value: (role.value,) for role in Role}, "single": (SINGLE,), "bound": tuple(Role)}
"""The callers, and what each is given. `bound` is bound to another provider than the requests name."""


@dataclass(frozen=True)
class Identity:
    """What one who calls presents, and what must follow."""

    name: str
    calling: Calling
    allowed: Collection[str] = ()
    refusal: str = "CALLER_UNKNOWN"


async def security_callers(environment: StressEnvironment) -> Figures:
    """Call every method with every identity: by certificate, and by token on both servers."""
    figures: list[Figures] = []
    for kind, certificates in ((GrpcServerKind.GRPCIO, True), *((kind, False) for kind in GrpcServerKind)):
        about = f"{kind} by {'certificate' if certificates else 'token'}"
        environment.report(about)
        authority = trustme.CA()
        config = await _configure(environment, kind, authority if certificates else None)
        async with running(config) as gateway, _channels(gateway.grpc) as channels:
            made = _by_certificate(channels, authority) if certificates else _by_token(channels)
            identities = tuple(made)
            outcomes = {each.name: [await _outcome(each.calling, method) for method in METHODS] for each in identities}
        named = _denials_by_actor(config.with_suffix(".log"))
        figures.append(_figures(about, identities, outcomes, named))
    return tuple(figure for each in figures for figure in each)


def _figures(
    about: str, identities: tuple[Identity, ...], outcomes: dict[str, list[str]], named: Counter[str]
) -> Figures:
    right = {
        each.name: sum(
            (outcome != each.refusal) if method.name in each.allowed else (outcome == each.refusal)
            for method, outcome in zip(METHODS, outcomes[each.name], strict=True)
        )
        for each in identities
    }
    denied = sum(outcome == "CALLER_NOT_ALLOWED" for each in outcomes.values() for outcome in each)
    return (
        *(
            exactly(f"{about}: {each.name} ({len(each.allowed)} allowed)", len(METHODS), right[each.name])
            for each in identities
        ),
        exactly(f"{about}: denials that name the caller in the log", denied, sum(named[each] for each in CALLERS)),
    )


async def _configure(environment: StressEnvironment, kind: GrpcServerKind, authority: trustme.CA | None) -> Path:
    config = environment.configure(await environment.database())
    write_keys(environment.folder, public_jwk(EC_KEY, kid="ec"))
    lines = f'[grpc]\nserver = "{kind}"\n'
    if authority is not None:
        issue(environment.folder, authority)
        authority.cert_pem.write_to_path(str(environment.folder / "ca.pem"))
        lines += f"{MUTUAL_TLS}\n"
    text = config.read_text().replace("[grpc]\n", lines).replace('level = "error"', 'level = "info"') + JWT
    for name, roles in CALLERS.items():
        text += f"[callers.{name}]\nroles = {json.dumps(roles)}\n"
        text += f'jwt_subject = "{name}"\n' if authority is None else f'certificate = "dns:{name}.internal"\n'
        text += 'providers = ["other"]\n' if name == "bound" else ""
    config.write_text(text + family_table("other", "luckymonaco", "http://127.0.0.1:9"))
    return config


@dataclass
class _Channels:
    """Channels to a gateway, closed together."""

    address: str
    opened: list[grpc.aio.Channel]

    def plain(self) -> grpc.aio.Channel:
        self.opened.append(grpc.aio.insecure_channel(self.address))
        return self.opened[-1]

    def secure(self, authority: trustme.CA, certificate: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
        """One that presents this certificate."""
        chain, key = certificate or (None, None)
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, chain)
        self.opened.append(grpc.aio.secure_channel(self.address, credentials))
        return self.opened[-1]


@asynccontextmanager
async def _channels(address: str) -> AsyncIterator[_Channels]:
    channels = _Channels(address, [])
    yield channels
    for channel in channels.opened:
        await channel.close()


def _configured(calling: dict[str, Calling]) -> Iterator[Identity]:
    """The callers of the configuration, and what their roles allow."""
    for name, given in CALLERS.items():
        methods = {method for method, rule in RULES.items() if method in given or not {*given}.isdisjoint(rule.roles)}
        allowed = OF_RECORDS if name == "bound" else methods
        about = "another provider" if name == "bound" else f"caller {name}"
        yield Identity(about, calling[name], allowed, "CALLER_NOT_ALLOWED")


def _by_certificate(channels: _Channels, authority: trustme.CA) -> Iterator[Identity]:
    def presenting(name: str, issuer: trustme.CA = authority, days: float = 1) -> Calling:
        return Calling(channels.secure(authority, certificate_of(issuer, DNSName(f"{name}.internal"), days=days)))

    yield Identity("no certificate", Calling(channels.secure(authority, None)), refusal=NO_CONNECTION)
    yield Identity("another authority", presenting("operator", trustme.CA()), refusal=NO_CONNECTION)
    yield Identity("expired", presenting("operator", days=-1), refusal=NO_CONNECTION)
    yield Identity("unknown name", presenting("nobody"))
    yield from _configured({name: presenting(name) for name in CALLERS})


def _by_token(channels: _Channels) -> Iterator[Identity]:
    channel = channels.plain()
    yield Identity("no identity", Calling(channel))
    yield Identity("another key", Calling(channel, bearer(token("operator", key=OTHER_KEY))))
    yield Identity("expired", Calling(channel, bearer(token("operator", exp=1))))
    yield Identity("unknown subject", Calling(channel, bearer(token("nobody"))))
    yield from _configured({name: Calling(channel, bearer(token(name))) for name in CALLERS})


async def _outcome(calling: Calling, method: Method) -> str:
    """The reason of a failed call, or NO_CONNECTION; empty if it was answered."""
    try:
        await calling.call(method, method.request(provider=PROVIDER))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
            return NO_CONNECTION
        return failure_of(error).reason
    return ""


def _denials_by_actor(log: Path) -> Counter[str]:
    lines = map(json.loads, log.read_text().splitlines())
    return Counter(line["actor"] for line in lines if line.get("reason") == "CALLER_NOT_ALLOWED")
