"""The table of roles: it has every method of the protos, with the roles and the provider that the design gives it."""

import re

import pytest

from gateway.rpc.roles import RULES, ProviderScope, Role, is_role, methods_of, rule_of
from tests.support.callers import METHODS, Method

CLOSES = re.compile(r"SessionService/(Close\w*|(Get|List|Retry|Cancel)Closures?)")
LAUNCHES = re.compile(r"SessionService/(RegisterSession|ListSessions)")
READS = re.compile(r"\w+/(Get|List|Watch)\w+")
OPERATES = re.compile(r"\w+/(Get|List|Watch|Enable|Disable|Resolve|Redeliver|Retry|Cancel)\w+")
PAYS = re.compile(r"WalletService/(OpenAccount|ApplyResult|GetBalance)")

BY_ROLE = {
    Role.READER: READS,
    Role.CLOSER: CLOSES,
    Role.LAUNCHER: LAUNCHES,
    Role.WALLET: PAYS,
    Role.OPERATOR: OPERATES,
}
"""The methods of each role, by their names."""


def test_every_method_has_a_role() -> None:
    """Each method of the protos is in the table with a role, and the table has no other."""
    assert {method.name for method in METHODS} == RULES.keys()
    assert all(rule.roles for rule in RULES.values())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_roles_of_a_method_follow_from_its_name(method: Method) -> None:
    """Readers read, closers close, launchers register, wallets pay, operators read and act."""
    assert {*RULES[method.name].roles} == {role for role, names in BY_ROLE.items() if names.fullmatch(method.name)}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_provider_in_the_request_decides(method: Method) -> None:
    """Where a request has a provider, the table says so, and where it has none it does not."""
    assert (RULES[method.name].scope is ProviderScope.FIELD) == method.has_provider


def test_a_role_gives_its_methods_and_a_method_itself() -> None:
    """Methods of several roles and single ones add up; an unknown name gives none."""
    assert methods_of(("SessionService/CloseSession", "unknown")) == {"SessionService/CloseSession"}
    assert methods_of((Role.READER, Role.CLOSER)) > methods_of((Role.READER,))
    assert is_role("reader")
    assert is_role("WalletService/GetBalance")
    assert not is_role("READER")
    assert not is_role("WalletService/Withdraw")


def test_a_method_without_a_rule_has_no_role() -> None:
    """A method that the table lacks is allowed to nobody."""
    assert rule_of("/gateway.v1.NewService/NewMethod").roles == ()
    assert rule_of("/gateway.v1.NewService/NewMethod").scope is ProviderScope.ALL
