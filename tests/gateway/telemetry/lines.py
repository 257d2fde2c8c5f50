"""What a test sees of the log."""

from collections.abc import Callable
from typing import Any

SECRET = "hunter22-and-more"
"""Known to the log as a secret."""

Lines = Callable[[], list[dict[str, Any]]]
"""All lines so far."""
