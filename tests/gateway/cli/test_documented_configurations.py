"""The configurations that the documents print are valid."""

import re
from pathlib import Path

import pytest

from tests.support.process import run_here

ROOT = Path(__file__).parents[3]
CONFIGURATION = re.compile(r"```toml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "docs/configuration.md"])
async def test_a_printed_configuration_passes_check(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` accepts the example, with a secret file that only its owner can read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KYREN_TOKEN", "a-token")
    key = tmp_path / "kyren-callback.key"
    key.touch(0o600)
    key.write_text("k" * 64)
    (printed, *_) = CONFIGURATION.findall((ROOT / document).read_text())
    config = tmp_path / "gateway.toml"
    config.write_text(printed)
    ended = await run_here("check", "--config", str(config))
    assert (ended.code, ended.err) == (0, "")
