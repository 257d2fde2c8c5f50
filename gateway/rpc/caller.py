"""The caller of an RPC, as the interceptor identified it."""

from contextvars import ContextVar

from gateway.store.models import Actor

ANONYMOUS = "anonymous"
"""The caller of every RPC where the configuration names no callers."""

caller: ContextVar[str] = ContextVar("caller", default=ANONYMOUS)
"""The name of the caller whose RPC the current task serves."""

bound_providers: ContextVar[frozenset[str] | None] = ContextVar("bound_providers", default=None)
"""The only providers that this caller may name; None for all."""


def is_anonymous() -> bool:
    """Whether the current RPC's caller has no name."""
    return caller.get() == ANONYMOUS


def actor(on_behalf_of: str = "") -> Actor:
    """The current RPC's caller, acting on behalf of a person where one is given."""
    return Actor(caller.get(), on_behalf_of)
