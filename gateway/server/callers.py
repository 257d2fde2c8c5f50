"""From [callers] and [jwt] to the callers that a gRPC server knows."""

from collections.abc import Iterable

from gateway.config import CallerSettings, ConfigInvalid, Problem, Settings
from gateway.rpc.callers import Caller, Callers
from gateway.rpc.roles import Role, is_role, methods_of
from gateway.rpc.tokens import KeysInvalid, PublicKey, TokenVerifier, read_keys


def create_callers(settings: Settings, before: Callers | None = None) -> Callers | None:
    """The configured callers; None where there are none, so that everyone may call everything.

    Tokens that `before` has verified are not verified again where their key is still configured. Reads the key file.
    Raises ConfigInvalid.
    """
    keys, problems = _keys(settings)
    if problems := (*_unknown_roles(settings), *problems):
        raise ConfigInvalid(problems)
    if not settings.callers:
        return None
    tokens = None
    if settings.jwt is not None:
        verified = before.tokens.verified if before is not None and before.tokens is not None else None
        tokens = TokenVerifier(settings.jwt.issuer, settings.jwt.audience, keys, verified)
    callers = [(caller, _caller(name, caller)) for name, caller in settings.callers.items()]
    return Callers(
        {configured.certificate: caller for configured, caller in callers if configured.certificate},
        {configured.jwt_subject: caller for configured, caller in callers if configured.jwt_subject},
        tokens,
    )


def unknown_providers(settings: Settings) -> Iterable[Problem]:
    """Providers that a caller is bound to and that the configuration does not have."""
    for name, caller in settings.callers.items():
        for index, provider in enumerate(caller.providers):
            if provider not in settings.providers:
                known = ", ".join(sorted(settings.providers)) or "none"
                yield Problem(
                    f"callers.{name}.providers[{index}]", f"names no configured provider; configured are: {known}"
                )


def _keys(settings: Settings) -> tuple[tuple[PublicKey, ...], tuple[Problem, ...]]:
    """The keys that tokens are verified with, or why the key file has none."""
    if settings.jwt is None:
        return (), ()
    try:
        return read_keys(settings.jwt.jwks_file.read_bytes()), ()
    except KeysInvalid as invalid:
        return (), (Problem("jwt.jwks_file", str(invalid)),)
    except OSError as error:
        return (), (Problem("jwt.jwks_file", f"cannot be read: {error.strerror}"),)


def _unknown_roles(settings: Settings) -> Iterable[Problem]:
    for name, caller in settings.callers.items():
        for index, role in enumerate(caller.roles):
            if not is_role(role):
                yield Problem(
                    f"callers.{name}.roles[{index}]",
                    f"is neither a role ({', '.join(Role)}) nor a method such as SessionService/CloseSession",
                )


def _caller(name: str, settings: CallerSettings) -> Caller:
    return Caller(name, methods_of(settings.roles), frozenset(settings.providers) or None)
