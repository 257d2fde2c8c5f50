"""Who acts in the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from unittest.mock import patch

from gateway.rpc import caller
from gateway.store.models import Actor

ADA = Actor("backoffice", "ada")
BOB = Actor("backoffice", "bob")


@contextmanager
def called_by(name: str) -> Iterator[None]:
    """Every RPC that a gateway in this process serves meanwhile has this caller."""
    with patch.object(caller, "caller", ContextVar("caller", default=name)):
        yield
