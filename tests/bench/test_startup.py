"""A start is measured to the answer of a real call."""

from bench import startup


def test_both_processes_start_and_answer() -> None:
    found = startup.measure(rounds=1)
    for start in (found.gateway, found.empty):
        assert start.cpu_s > 0
        assert start.wall_s > 0
        assert 0 < start.pss_mib <= start.rss_mib
    assert "gateway" in startup.report(found)
