"""Services as the generated code adds them to a server, and the methods that they come to."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.rpc.http2.call import Method


class Services:
    """Takes what is added to a grpc.aio.Server."""

    def __init__(self) -> None:
        self._added: dict[str, Method] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Nothing: the generated code adds the same methods in the other way too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Have a service's methods served. Raises ValueError for a kind of method that nobody here has."""
        self._added.update({f"/{service}/{name}": _method(handler) for name, handler in handlers.items()})

    @property
    def methods(self) -> Mapping[str, Method]:
        """What was added, by path."""
        return self._added


def _method(handler: Any) -> Method:
    behavior = handler.unary_unary or handler.unary_stream or handler.stream_stream
    if behavior is None:
        raise ValueError("a stream of requests with one answer is not served")
    return Method(
        behavior,
        handler.request_deserializer or _as_it_is,
        handler.response_serializer or _as_it_is,
        takes_stream=handler.request_streaming,
        gives_stream=handler.response_streaming,
    )


def _as_it_is(message: Any) -> Any:
    return message
