"""Who calls: from a client certificate or a token to a configured caller, and what that caller may call."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.rpc.caller import bound_providers, caller
from gateway.rpc.certificates import NO_CERTIFICATE, read_certificate
from gateway.rpc.deadline import Context
from gateway.rpc.roles import MethodRule, ProviderScope
from gateway.rpc.status import ApiReason
from gateway.rpc.tokens import TokenRefused, TokenVerifier
from gateway.sessions.errors import GatewayError

_MAX_SHOWN = 200
"""Characters of what an unknown caller presented, in the log and in the error."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A configured caller. `methods` are those of its roles; `providers` the only ones it may name, None for all."""

    name: str
    methods: frozenset[str]
    providers: frozenset[str] | None = None


class Credentials:
    """What a call presents, read when it is needed."""

    __slots__ = ("_authorization", "_certificate", "_context")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._certificate: bytes | None = None
        self._authorization: tuple[str | bytes, ...] | None = None

    @property
    def certificate(self) -> bytes:
        """The client certificate as PEM; empty if there is none. TLS has verified it."""
        if self._certificate is None:
            self._certificate = next(iter(self._context.auth_context().get("x509_pem_cert", ())), b"")
        return self._certificate

    @property
    def authorization(self) -> tuple[str | bytes, ...]:
        """The values of the authorization headers."""
        if self._authorization is None:
            metadata = self._context.invocation_metadata() or ()
            self._authorization = tuple([value for key, value in metadata if key == "authorization"])
        return self._authorization

    def read(self) -> "Credentials":
        """Read all now, for use after the call has ended: grpcio then crashes on its context."""
        _ = self.certificate, self.authorization
        return self


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that was identified, until what it presented expires (seconds since the epoch)."""

    caller: Caller
    expires_at: float


class CallerUnknown(GatewayError):
    """A call without an identity, or with one that no caller has. `presented` says which, and holds no token."""

    def __init__(self, presented: str) -> None:
        self.presented = presented
        super().__init__(
            ApiReason.CALLER_UNKNOWN,
            f"the caller is not known, nothing was done; presented was {presented}. Present the certificate or the "
            "token (authorization: Bearer …) of a caller that [callers] of the gateway's configuration names",
        )


class Callers:
    """The configured callers by what identifies them: a certificate's name (`dns:…`), or the subject of a token."""

    def __init__(
        self, by_certificate: Mapping[str, Caller], by_subject: Mapping[str, Caller], tokens: TokenVerifier | None
    ) -> None:
        self._by_certificate = by_certificate
        self._by_subject = by_subject
        self.tokens = tokens

    def identify(self, credentials: Credentials) -> Identity:
        """Identify who calls. A certificate that is known decides before a token. Raises CallerUnknown."""
        presented = []
        if self._by_certificate and (certificate := credentials.certificate):
            found = self._by_names(certificate)
            if isinstance(found, Identity):
                return found
            presented.append(found)
        if self.tokens is not None and (authorization := credentials.authorization):
            found = self._by_token(self.tokens, authorization)
            if isinstance(found, Identity):
                return found
            presented.append(found)
        raise CallerUnknown(" and ".join(presented) or "no identity")

    def _by_names(self, pem: bytes) -> Identity | str:
        """The caller of a certificate, or what the certificate shows."""
        certificate = read_certificate(pem)
        if certificate is NO_CERTIFICATE:
            return "a certificate without a subject alternative name"
        if certificate.expires_at <= time.time():
            return f"a certificate that has expired ({_shown(certificate.names)})"
        known = certificate.names & self._by_certificate.keys()
        callers = {self._by_certificate[name].name: self._by_certificate[name] for name in known}
        if len(callers) == 1:
            return Identity(next(iter(callers.values())), certificate.expires_at)
        if callers:
            return f"a certificate of several callers ({_shown(callers.keys())})"
        return f"a certificate of {_shown(certificate.names) or 'no dns, uri or email name'}"

    def _by_token(self, tokens: TokenVerifier, values: tuple[str | bytes, ...]) -> Identity | str:
        """The caller of a token, or why there is none."""
        if len(values) > 1:
            return "several authorization headers"
        scheme, _, token = values[0].partition(" ") if isinstance(values[0], str) else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            return "an authorization that is not Bearer"
        try:
            verified = tokens.verify(token.strip())
        except TokenRefused as refused:
            return f"a token that is refused: {refused}"
        found = self._by_subject.get(verified.subject)
        return Identity(found, verified.expires_at) if found else f"a token of sub {_shown([verified.subject])}"


def _shown(names: Any) -> str:
    """Names that a caller chose, as bounded ASCII."""
    return ", ".join(ascii(name)[1:-1] for name in sorted(names))[:_MAX_SHOWN]


def require_method(who: Caller, rule: MethodRule) -> None:
    """Raises GatewayError CALLER_NOT_ALLOWED where the caller may not call a method."""
    if rule.method not in who.methods:
        needed = ", ".join(f'"{role}"' for role in (*rule.roles, rule.method))
        raise _not_allowed(f"may not call {rule.method}: it needs one of {needed} in [callers.{who.name}] roles")


def require_request(rule: MethodRule, request: Any) -> None:
    """Raises GatewayError CALLER_NOT_ALLOWED where the caller is bound to providers and the request is not."""
    if bound_providers.get() is None or rule.scope is ProviderScope.STORED:
        return
    require_provider(request.provider if rule.scope is ProviderScope.FIELD else "")


def require_provider(provider: str) -> None:
    """Raises GatewayError CALLER_NOT_ALLOWED where the caller is bound to other providers. An empty one means all."""
    bound = bound_providers.get()
    if bound is None or provider in bound:
        return
    allowed, section = ", ".join(sorted(bound)), f"[callers.{caller.get()}] providers"
    if not provider:
        raise _not_allowed(f"may not ask for all providers: {section} binds it to {allowed}; name one of them")
    # The field was not validated yet: a name has at most 63 characters.
    raise _not_allowed(f"may not use provider '{_shown([provider])[:64]}': {section} binds it to {allowed}")


def _not_allowed(what: str) -> GatewayError:
    return GatewayError(ApiReason.CALLER_NOT_ALLOWED, f"caller {caller.get()} {what}. Nothing was done")
