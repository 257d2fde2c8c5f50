"""The small version of the demonstration in `security_outbound`."""

import pytest

from tests.stress.security_outbound import rebinding


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_name_that_changes_its_answer_gives_no_access(tls: bool) -> None:
    """Nothing is sent to this host, not even a connection where the name is not resolved again, and calls say so."""
    for found in await rebinding(tls):
        resolved_again = found.kind.startswith("resolved again")
        assert (found.connections, found.received, found.unsent) == (int(resolved_again), 0, True), found.kind
