"""The caller of an RPC, as the interceptor identified it."""

from contextvars import ContextVar

ANONYMOUS = "anonymous"
"""The caller of every RPC where the configuration names no callers."""

caller: ContextVar[str] = ContextVar("caller", default=ANONYMOUS)
"""The name of the caller whose RPC the current task serves."""

bound_providers: ContextVar[frozenset[str] | None] = ContextVar("bound_providers", default=None)
"""The only providers that this caller may name; None for all."""
