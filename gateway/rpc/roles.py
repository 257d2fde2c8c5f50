"""The one table of who may call what: every method of the protos, its roles, and where its provider stands."""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Role(StrEnum):
    """What a caller is for. A caller may have several roles."""

    READER = "reader"
    CLOSER = "closer"
    LAUNCHER = "launcher"
    WALLET = "wallet"
    OPERATOR = "operator"


@unique
class ProviderScope(StrEnum):
    """How the provider of a request is found, for callers that are bound to providers."""

    FIELD = "FIELD"
    """In the request's field `provider`. An empty one means all providers."""
    ALL = "ALL"
    """The request names no provider: it is about all of them, or about an account, which all of them use."""
    STORED = "STORED"
    """The request names a record. The service reads the record and calls `require_provider` before it does anything."""


@dataclass(frozen=True, slots=True)
class MethodRule:
    """Who may call a method."""

    method: str
    """Service and method, such as `SessionService/CloseSession`: also the name by which a caller may be given it."""
    roles: tuple[Role, ...] = ()
    scope: ProviderScope = ProviderScope.ALL


_READ = (Role.READER, Role.OPERATOR)
_FIELD, _ALL, _STORED = ProviderScope.FIELD, ProviderScope.ALL, ProviderScope.STORED

RULES = {
    rule.method: rule
    for rule in (
        MethodRule("SessionService/CloseSession", (Role.CLOSER,), _FIELD),
        MethodRule("SessionService/WatchEvents", _READ, _FIELD),
        MethodRule("SessionService/ListProviders", _READ, _ALL),
        MethodRule("ReconciliationService/ListItems", _READ, _FIELD),
        MethodRule("ReconciliationService/GetItem", _READ, _STORED),
        MethodRule("ReconciliationService/ResolveItem", (Role.OPERATOR,), _STORED),
        MethodRule("ReconciliationService/ListRefusedCallbacks", _READ, _FIELD),
        MethodRule("ReconciliationService/RedeliverCallback", (Role.OPERATOR,), _STORED),
        MethodRule("TransactionService/GetTransaction", _READ, _FIELD),
        MethodRule("TransactionService/ListTransactions", _READ, _ALL),
        MethodRule("ProviderService/DisableProvider", (Role.OPERATOR,), _FIELD),
        MethodRule("ProviderService/EnableProvider", (Role.OPERATOR,), _FIELD),
        MethodRule("ProviderService/ListProviderStateChanges", _READ, _FIELD),
        MethodRule("WalletService/ApplyResult", (Role.WALLET,), _FIELD),
        MethodRule("WalletService/GetBalance", (*_READ, Role.WALLET), _ALL),
        MethodRule("WalletService/OpenAccount", (Role.WALLET,), _ALL),
    )
}


def rule_of(path: str) -> MethodRule:
    """The rule of a method, by its path `/package.Service/Method`. One that is not in the table has no role."""
    method = path.rpartition(".")[2]
    return RULES.get(method) or MethodRule(method)


def is_role(name: str) -> bool:
    """Whether this is a role, or a method that the table has."""
    return name in RULES or name in Role.__members__.values()


def methods_of(roles: tuple[str, ...]) -> frozenset[str]:
    """The methods of these roles and single methods."""
    return frozenset(
        rule.method for rule in RULES.values() if rule.method in roles or not {*roles}.isdisjoint(rule.roles)
    )
