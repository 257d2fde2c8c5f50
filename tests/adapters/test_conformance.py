"""The conformance suite passes every correct adapter, and fails every broken one with the check for its fault."""

from pathlib import Path
from typing import Any

import pytest

from adapters import registry
from adapters.conformance import Check, ConformanceFailure, checks_of, checks_on
from adapters.conformance.case import ACCOUNT_MARKER, CALL_MARKER
from adapters.contract import Account, Attempt, CloseSession, HttpRequest
from tests.adapters.broken import GOOD as GOOD_CASE
from tests.adapters.broken import Broken, callbacks, calls, guesses, in_json, surroundings, with_call

FOUND = registry.find()
GOOD = {name: FOUND.package(name) for name in FOUND.names()} | {"example": "tests.adapters.example"}
BROKEN = (*calls.BROKEN, *callbacks.BROKEN, *guesses.BROKEN, *in_json.BROKEN, *surroundings.BROKEN)


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=f"{name}-{check}") for name, package in GOOD.items() for check in checks_of(package)],
)
def test_conforms(check: Check) -> None:
    """Every adapter that the registry finds, and the example, passes every check."""
    check.run()


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_adapter_fails_its_check(broken: Broken) -> None:
    """The check for the fault fails, and its message names the check, the adapter, the problem and the fix."""
    checks = {check.name: check for check in checks_on(broken.case)}
    with pytest.raises(ConformanceFailure) as failure:
        checks[broken.check].run()
    text = str(failure.value)
    assert text.startswith(f"{broken.check}: adapter {broken.case.adapter.name}")
    assert broken.message in text
    assert "  fix: " in text


def test_every_check_has_a_broken_adapter() -> None:
    """Each check fails for at least one broken adapter."""
    assert {broken.check for broken in BROKEN} == {check.name for check in checks_of("tests.adapters.example")}


def test_a_failure_hides_the_tokens() -> None:
    """A failure that shows a request masks its tokens, a golden's and the markers."""
    golden = GOOD_CASE.sent[0][1]
    failure = GOOD_CASE.failure(ACCOUNT_MARKER, fix=CALL_MARKER, golden=golden, got=golden.request)
    assert "X-Desk" in str(failure)
    for token in ("desk-token-1", ACCOUNT_MARKER, CALL_MARKER):
        assert token not in str(failure)


def test_an_unexpected_exception_is_a_failure() -> None:
    """A function that raises another exception than the contract's fails the check, with the exception as cause."""

    def encode(account: Account[Any], call: CloseSession, attempt: Attempt) -> HttpRequest:
        raise KeyError("player")

    check = next(check for check in checks_on(with_call(encode=encode)) if check.name == "requests_are_exact")
    with pytest.raises(
        ConformanceFailure, match="requests_are_exact: adapter example: a function of it raises KeyError"
    ) as failure:
        check.run()
    assert isinstance(failure.value.__cause__, KeyError)


def test_checks_are_listed_without_importing_the_package() -> None:
    """A package that cannot be imported fails when its first check runs, not while tests are collected."""
    checks = checks_of("tests.adapters.nowhere")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        checks[0].run()


def test_a_package_without_an_adapter_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that binds no ADAPTER fails every check with a message that names ADAPTER."""
    folder = tmp_path / "empty_adapter"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "simulator.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConformanceFailure, match="goldens_are_readable: adapter empty_adapter: it has no ADAPTER"):
        next(check for check in checks_of("empty_adapter") if check.name == "goldens_are_readable").run()
