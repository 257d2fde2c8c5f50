"""Which release this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """The version of the installed package; 'unknown' where it runs from its sources."""
    try:
        return version("session-gateway")
    except PackageNotFoundError:
        return "unknown"
