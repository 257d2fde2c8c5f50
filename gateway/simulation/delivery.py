"""Exchanges as they were on the wire, and the way between them and aiohttp, in both directions."""

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from adapters.contract import Headers, HttpReply, HttpRequest


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, exactly as they were; None where no whole answer was given."""

    request: HttpRequest
    reply: HttpReply | None
    note: str = ""
    """The fault that befell it, or why there is no answer."""


def head_of(received: web.Request) -> HttpRequest:
    """A request as far as it is known before its body is read. The path stays percent-encoded."""
    path, _, query = received.raw_path.partition("?")
    return HttpRequest(
        method=received.method,
        path=path,
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in received.raw_headers),
    )


def headers_to_send(reply: HttpReply) -> Headers:
    """A reply's headers without the length, which is for the server to count."""
    return tuple((name, value) for name, value in reply.headers if name.lower() != "content-length")


async def send(client: aiohttp.ClientSession, base: str, request: HttpRequest, timeout_s: float) -> Exchange:
    """Send a request, with these headers and no others, to a path below `base`; never raises for a lost answer."""
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
            ) as answer,
        ):
            body = await answer.read()
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers)
            return Exchange(request, HttpReply(answer.status, headers, body))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The kind alone: the text can hold the URL, and with it the callback key.
        return Exchange(request, None, type(error).__name__)
