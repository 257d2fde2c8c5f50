"""What must hold of the tree as a whole."""

import re
from pathlib import Path

from adapters.registry import find

ROOT = Path(__file__).parent.parent


def test_no_providers_name_occurs_in_the_gateway() -> None:
    """The core depends on what an adapter can do, never on its name: no dialect's name occurs in gateway/."""
    names = re.compile("|".join(find().names()), re.IGNORECASE)
    files = [path for path in (ROOT / "gateway").rglob("*") if path.suffix in {".py", ".sql", ".pyi"}]
    assert len(files) > 50
    assert [path.name for path in files if names.search(path.read_text())] == []


def test_no_file_is_over_400_lines() -> None:
    """A longer file should be two. Generated code is not counted."""
    files = [
        path
        for package in ("gateway", "adapters", "tests")
        for path in (ROOT / package).rglob("*.py")
        if path.parent.name != "v1"
    ]
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 400] == []
