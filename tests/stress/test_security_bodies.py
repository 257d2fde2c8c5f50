"""Mutated bodies, small."""

from tests.stress.figures import failures
from tests.stress.processes import StressEnvironment
from tests.stress.security_bodies import mutated_bodies


async def test_mutated_bodies_leave_the_books_as_answered(environment: StressEnvironment) -> None:
    """Each is answered in the dialect, and what is answered as credited is what the accounts hold."""
    assert not failures(await mutated_bodies(environment, bodies=1_000))
