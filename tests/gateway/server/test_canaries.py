"""No secret is in anything that a gateway writes, whatever happens."""

from pathlib import Path

from tests.stress.security_canaries import WRITTEN, search


async def test_no_canary_is_found(tmp_path: Path) -> None:
    """Canaries in every place that can hold a secret occur in no log, journal, error, metric, trace or backup."""
    found = await search(tmp_path)
    assert found.hits == ()
    assert found.sent >= 4 * len(WRITTEN)
    assert min(found.places.values()) > 0
    assert {"log", "database", "backup", "traces", "metrics", "events", "errors", "answers", "commands"} <= set(
        found.places
    )
