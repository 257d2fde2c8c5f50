"""The stress tests of security that have no file of their own, small. The wall clock is not judged."""

from pathlib import Path

import pytest

from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.security_callbacks import Attack, siege
from tests.stress.security_callers import security_callers
from tests.stress.security_smuggling import security_smuggling
from tests.stress.security_squatting import security_squatting


@pytest.fixture
def sqlite(tmp_path: Path) -> StressEnvironment:
    return StressEnvironment(Engine.SQLITE, tmp_path)


async def test_each_identity_may_call_what_its_roles_have(sqlite: StressEnvironment) -> None:
    """Others are refused, and each denial names the caller in the log."""
    assert not failures(await security_callers(sqlite))


async def test_keyless_connections_keep_no_result_out(sqlite: StressEnvironment) -> None:
    """More of them than one source may have: each Result on a new connection is credited."""
    assert not failures(await siege(sqlite, attack=Attack.KEYLESS, connections=600, deliveries=5, seconds=1))


async def test_smuggled_requests_are_not_read(sqlite: StressEnvironment) -> None:
    """Each connection is closed after one answer at most, and none of them is HTTP 5xx."""
    assert not failures(await security_smuggling(sqlite))


async def test_a_win_is_paid_once_although_its_reference_was_to_be_taken(environment: StressEnvironment) -> None:
    """A credit of 0 over gRPC is refused before and after the callback."""
    assert not failures(await security_squatting(environment))
