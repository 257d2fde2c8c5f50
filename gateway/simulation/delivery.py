"""Exchanges as they were on the wire, converted from and to aiohttp."""

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from adapters.contract import Headers, HttpReply, HttpRequest


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply, byte for byte; None if there was no complete reply."""

    request: HttpRequest
    reply: HttpReply | None
    note: str = ""
    """The simulated fault, or the error that prevented the reply."""


def head_of(received: web.Request) -> HttpRequest:
    """A request without its body. The path stays percent-encoded."""
    path, _, query = received.raw_path.partition("?")
    return HttpRequest(
        method=received.method,
        path=path,
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in received.raw_headers),
    )


def headers_to_send(reply: HttpReply) -> Headers:
    """A reply's headers without Content-Length, which the server computes."""
    return tuple((name, value) for name, value in reply.headers if name.lower() != "content-length")


async def send(client: aiohttp.ClientSession, base: str, request: HttpRequest, timeout_s: float) -> Exchange:
    """Send a request, with its headers and no others, to a path below `base`. Does not raise if there is no reply."""
    query = f"?{urlencode(request.query)}" if request.query else ""
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.request(
                request.method,
                URL(f"{base}{request.path}{query}", encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ) as response,
        ):
            body = await response.read()
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)
            return Exchange(request, HttpReply(response.status, headers, body))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Only the type: the text can hold the URL, and with it the callback key.
        return Exchange(request, None, type(error).__name__)
