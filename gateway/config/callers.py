"""The sections [callers] and [jwt], and what in other sections contradicts them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from gateway.config import values
from gateway.config.problems import Problem, dotted
from gateway.config.references import ReferenceResolver
from gateway.config.settings import CallerSettings, GrpcServerKind, JwtSettings, Settings
from gateway.config.table import Table

_ANONYMOUS = "anonymous"
"""The actor where nobody was identified."""


def read_callers(root: Table) -> Mapping[str, CallerSettings]:
    """The callers by name."""
    table = root.table("callers")
    callers = {}
    for name in table:
        if not values.is_name(name):
            table.add_problem(
                name, "a caller's name has at most 63 of a-z, 0-9, _ and -, and begins with a letter or a digit"
            )
        elif name == _ANONYMOUS:
            table.add_problem(name, "is the name of a caller that was not identified; give this one another name")
        callers[name] = _caller(table.table(name))
    if "callers" in root and not callers:
        root.add_problem("callers", "names no caller, so that nobody could call; add [callers.NAME], or remove it")
    return MappingProxyType(callers)


def _caller(table: Table) -> CallerSettings:
    lists = {
        "roles": table.list_of("roles", values.role, '["reader"]'),
        "providers": table.list_of("providers", values.text, '["NAME"]'),
    }
    caller = table.read(CallerSettings, lists, certificate=values.certificate_name, jwt_subject=values.printable)
    if not caller.roles:
        table.add_problem("roles", 'names none; write roles = ["reader"], or what this caller needs')
    if "providers" in table and not caller.providers:
        table.add_problem("providers", "names none; name those that this caller may use, or remove the key for all")
    if not ("certificate" in table or "jwt_subject" in table):
        table.add_problem(
            "certificate", 'is missing, and so is jwt_subject; write certificate = "dns:…" or jwt_subject = "…"'
        )
    return caller


def read_jwt(root: Table, references: ReferenceResolver) -> JwtSettings | None:
    """The issuer of tokens; None where there is no section."""
    table = root.table("jwt")
    if "jwt" not in root:
        return None
    return table.read(
        JwtSettings,
        {
            "issuer": table.required("issuer", values.text, "", '"https://…", the iss of its tokens'),
            "audience": table.required("audience", values.text, "", '"session-gateway", the aud of its tokens'),
            "jwks_file": table.required("jwks_file", references.file, Path(), '"jwks.json", its public keys'),
        },
    )


def conflicts(settings: Settings) -> Iterable[Problem]:
    """What contradicts other callers or other sections."""
    yield from _shared(settings, "certificate", lambda caller: caller.certificate)
    yield from _shared(settings, "jwt_subject", lambda caller: caller.jwt_subject)
    for name, caller in settings.callers.items():
        path = dotted("callers", name)
        if caller.certificate and settings.grpc.server is GrpcServerKind.NATIVE:
            yield Problem(
                f"{path}.certificate",
                'needs server = "grpcio": the native server has no TLS and knows callers by JWT only; write that, or '
                "jwt_subject",
            )
        elif caller.certificate and (settings.grpc.tls is None or settings.grpc.tls.client_ca is None):
            yield Problem(
                f"{path}.certificate",
                "needs client certificates: write [grpc] tls = { cert = …, key = …, client_ca = … }, or jwt_subject",
            )
        if caller.jwt_subject and settings.jwt is None:
            yield Problem(f"{path}.jwt_subject", "needs [jwt] with issuer, audience and jwks_file")
    grpc = settings.grpc
    # Of the native server load.py reports the same address already.
    is_reported = grpc.server is GrpcServerKind.NATIVE
    if not settings.callers and not grpc.listen.is_loopback and not grpc.allow_anyone and not is_reported:
        yield Problem(
            "grpc.listen",
            "can be reached from other machines, and without [callers] anyone who connects may call everything, with "
            "TLS too; add [callers.NAME], listen on 127.0.0.1, or, where a sidecar or firewall admits only your "
            "services, write allow_anyone = true",
        )


def _shared(settings: Settings, key: str, identity: Callable[[CallerSettings], str | None]) -> Iterable[Problem]:
    seen: dict[str, str] = {}
    for name, caller in settings.callers.items():
        value = identity(caller)
        if value is None:
            continue
        path = f"{dotted('callers', name)}.{key}"
        if value in seen:
            yield Problem(path, f"is the same as {seen[value]}; each belongs to one caller")
        seen.setdefault(value, path)
