"""The suite that every adapter passes, here or in someone else's repository.

A team proves its adapter with one parametrised test (needs the extra `session-gateway[conformance]`):

    from adapters.conformance import Check, checks_of

    @pytest.mark.parametrize("check", checks_of("acme_adapter"), ids=str)
    def test_conforms(check: Check) -> None:
        check.run()

The package has ADAPTER, `simulator.SIMULATOR` and `golden/*.toml`. Each check has a name that stays, and the sentence
of what must hold as its docstring; its failure says what failed, in which golden, and what to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from adapters.conformance import (
    callbacks,
    goldens,
    mutations,
    purity,
    requests,
    responses,
    secrecy,
    simulator,
    simulator_callbacks,
)
from adapters.conformance.case import ConformanceFailure, Subject

__all__ = ["Check", "ConformanceFailure", "Subject", "checks_of", "checks_on"]

_JUDGES = (
    *purity.CHECKS,
    *goldens.CHECKS,
    *requests.CHECKS,
    *callbacks.CHECKS,
    *mutations.CHECKS,
    *responses.CHECKS,
    *secrecy.CHECKS,
    *simulator.CHECKS,
    *simulator_callbacks.CHECKS,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold of an adapter. `str(check)` is its name."""

    name: str
    must_hold: str
    _judge: Callable[[Subject], None]
    _subject: Callable[[], Subject]

    def __str__(self) -> str:
        return self.name

    def run(self) -> None:
        """Judge the adapter. Raises ConformanceFailure; and whatever importing the package raises."""
        try:
            self._run_on(self._subject())
        except ConformanceFailure as failure:
            failure.check = self.name
            raise

    def _run_on(self, subject: Subject) -> None:
        try:
            self._judge(subject)
        except ConformanceFailure:
            raise
        except Exception as error:
            raise subject.failure(
                f"{type(error).__name__} comes out of it: {error}",
                mend="Raise nothing but the contract's refusals; look into the cause above.",
            ) from error


def checks_of(package: str) -> tuple[Check, ...]:
    """Every check, of the adapter in this package. Imports it when the first check runs, not before."""
    return _checks(cache(lambda: Subject.of(package)))


def checks_on(subject: Subject) -> tuple[Check, ...]:
    """Every check, of a subject put together by hand."""
    return _checks(lambda: subject)


def _checks(subject: Callable[[], Subject]) -> tuple[Check, ...]:
    return tuple(Check(judge.__name__, judge.__doc__ or "", judge, subject) for judge in _JUDGES)
