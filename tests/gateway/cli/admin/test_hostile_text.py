"""What a gateway writes in an error, where others chose the text."""

from typing import Any

import grpc

from tests.support.process import run_here

HOSTILE = "by x\x1b]0;title\x07\x1b[2J\x9b1m\nline\u202egnp\u2066"
"""It sets a title, clears the screen, begins a line, and turns the text direction."""


async def test_an_error_does_not_control_the_terminal() -> None:
    """The text of an error is printed on one line, without control characters and text direction marks."""

    async def fail(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, HOSTILE)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"ListProviders": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("gateway.v1.SessionService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        ended = await run_here("provider", "list", "--target", f"127.0.0.1:{port}")
    finally:
        await server.stop(None)
    assert ended.code == 1
    assert "by x" in ended.err
    assert ended.err.removesuffix("\n").isprintable()
