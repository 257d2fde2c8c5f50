"""The conformance suite: every adapter passes it, in this repository or in a third party's.

A team tests its adapter with one parametrised test (it needs the extra `session-gateway[conformance]`):

    from adapters.conformance import Check, checks_of

    @pytest.mark.parametrize("check", checks_of("acme_adapter"), ids=str)
    def test_conforms(check: Check) -> None:
        check.run()

The package holds ADAPTER, `simulator.SIMULATOR` and `golden/*.toml`. A check's name is stable, and its docstring says
what must hold. A failure names the check, the adapter, the golden and the fix. The modules with checks:

- `purity`: the adapter is a constant value, and its functions depend on their arguments only.
- `goldens`: requests, replies, callbacks and their answers match the golden files byte for byte.
- `requests`: `encode` sends or refuses any call, and the capabilities of the call are true.
- `responses`: `decode` accepts or refuses any HTTP reply, and only a documented success is a success.
- `callbacks`: `verify` and `decode` accept or refuse any callback, and `encode_reply` encodes every answer.
- `mutations`: a callback with a missing, duplicate or malformed field is refused.
- `secrecy`: no token is logged, raised or kept in the journal.
- `simulator`: the simulator accepts the adapter's requests, and the adapter decodes its answers.
- `simulator_callbacks`: the adapter decodes the simulator's callbacks, and the simulator follows our replies.

The modules without checks: `case` is the adapter under test, `wire` parses and builds bodies, `substitutions` replaces
single values of a message, `source_scan` reads the adapter's source.
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
from adapters.conformance.case import Case, ConformanceFailure

__all__ = ["Case", "Check", "ConformanceFailure", "checks_of", "checks_on"]

_CHECKS = (
    *purity.CHECKS,
    *goldens.CHECKS,
    *requests.CHECKS,
    *responses.CHECKS,
    *mutations.CHECKS,
    *callbacks.CHECKS,
    *secrecy.CHECKS,
    *simulator.CHECKS,
    *simulator_callbacks.CHECKS,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold of an adapter. `str(check)` is its name."""

    name: str
    must_hold: str
    _function: Callable[[Case], None]
    _case: Callable[[], Case]

    def __str__(self) -> str:
        return self.name

    def run(self) -> None:
        """Check the adapter. Raises ConformanceFailure, and what importing the package raises."""
        try:
            self._run_on(self._case())
        except ConformanceFailure as failure:
            failure.check = self.name
            raise

    def _run_on(self, case: Case) -> None:
        try:
            self._function(case)
        except ConformanceFailure:
            raise
        except Exception as error:
            raise case.failure(
                f"a function of it raises {type(error).__name__}: {error}",
                fix="Raise only the contract's refusals; the traceback above shows the cause.",
            ) from error


def checks_of(package: str) -> tuple[Check, ...]:
    """Every check, of the adapter in this package. The package is imported when the first check runs."""
    return _checks(cache(lambda: Case.of(package)))


def checks_on(case: Case) -> tuple[Check, ...]:
    """Every check, of a case that the caller built."""
    return _checks(lambda: case)


def _checks(case: Callable[[], Case]) -> tuple[Check, ...]:
    return tuple(Check(function.__name__, function.__doc__ or "", function, case) for function in _CHECKS)
