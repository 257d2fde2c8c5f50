"""What the loads send: closes and Results, each with its own id, spread over users and providers."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from uuid import UUID, uuid4

from bench.environment import PROVIDERS, USERS, key_of
from bench.load.grpc import Call
from bench.load.http import request
from gateway.v1.session_service_pb2 import OUTCOME_CLOSED, CloseSessionRequest, CloseSessionResponse
from tests.support.results import result_body

CLOSE_SESSION = "/gateway.v1.SessionService/CloseSession"


def close_call(request_id: str, content: bytes) -> Call:
    """One call of CloseSession; its answer must have the request's id, and say that the provider closed."""
    # A message is its fields one after the other.
    return Call(
        CloseSessionRequest(request_id=request_id).SerializeToString() + content,
        CloseSessionResponse(request_id=request_id, outcome=OUTCOME_CLOSED).SerializeToString(),
    )


def close_content(provider: str, user: int, reason: str = "self-exclusion") -> bytes:
    """All of a CloseSession's request but its id."""
    return CloseSessionRequest(provider=provider, user_id=f"player-{user}", reason=reason).SerializeToString()


def closes(providers: Sequence[str] = PROVIDERS, users: int = USERS) -> Iterator[Call]:
    """Calls of CloseSession, each with a new id."""
    for content in cycle(
        close_content(providers[number % len(providers)], number % users) for number in range(users * len(providers))
    ):
        yield close_call(str(UUID(int=random.getrandbits(128), version=4)), content)


def result(provider: str, reference: str, user: int) -> bytes:
    """One Result as it travels."""
    path = f"/callbacks/{provider}/{key_of(provider)}/V4/Result"
    return request(path, result_body(reference, userId=f"player-{user}"))


def results(providers: Sequence[str] = PROVIDERS[:1], users: int = USERS) -> Iterator[bytes]:
    """Results of accounts that are open, each with a new reference, from each provider in turn."""
    for number, provider in zip(count(), cycle(providers), strict=False):
        yield result(provider, f"{random.getrandbits(128):032x}", number % users)


def json_closes() -> Iterator[bytes]:
    """Closes as JSON over HTTP, for a server that does not speak gRPC."""
    for number in count():
        asked = {
            "request_id": str(uuid4()),
            "provider": PROVIDERS[number % len(PROVIDERS)],
            "user_id": f"player-{number % USERS}",
            "reason": "self-exclusion",
        }
        yield request("/close", json.dumps(asked).encode())
