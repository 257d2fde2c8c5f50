"""The alerts fire in an incident, and are silent in a quiet hour: promtool on scrapes of a real gateway."""

import shutil
from pathlib import Path

import pytest

from tests.stress.faults_alerts import incident, quiet_hour
from tests.stress.promtool import RULES, promtool

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


async def test_the_rules_are_valid() -> None:
    """promtool accepts the file."""
    assert (await promtool("check", "rules", str(RULES)))[0] == 0


async def test_each_fault_of_an_incident_fires_its_alerts_and_no_other(tmp_path: Path) -> None:
    """They fire while the fault lasts, the first one right after the start, and end with it."""
    code, output = await (await incident(tmp_path)).verify(tmp_path)
    assert code == 0, output


async def test_a_quiet_hour_is_quiet(tmp_path: Path) -> None:
    """Nothing fires with traffic, single refusals, a restart and a reload."""
    code, output = await (await quiet_hour(tmp_path)).verify(tmp_path)
    assert code == 0, output
