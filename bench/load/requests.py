"""What the loads send: closes and Results, each with an identity of its own, spread over users and providers."""

import json
import os
import random
from collections.abc import Iterator
from itertools import count, cycle
from uuid import UUID, uuid4

from bench.environment import KEY, PROVIDERS, USERS
from bench.load.grpc import Call
from bench.load.http import request
from gateway.v1.session_service_pb2 import OUTCOME_CLOSED, CloseSessionRequest, CloseSessionResponse
from tests.support.results import result_body

CLOSE_SESSION = "/gateway.v1.SessionService/CloseSession"


def closes() -> Iterator[Call]:
    """Calls of CloseSession; an answer must have the request's id, and say that the provider closed."""
    contents = cycle(
        CloseSessionRequest(
            provider=PROVIDERS[number % len(PROVIDERS)], user_id=f"player-{number % USERS}", reason="self-exclusion"
        ).SerializeToString()
        for number in range(USERS * len(PROVIDERS))
    )
    for content in contents:
        request_id = str(UUID(int=random.getrandbits(128), version=4))
        # A message is its fields one after the other, whatever the message.
        yield Call(
            CloseSessionRequest(request_id=request_id).SerializeToString() + content,
            CloseSessionResponse(request_id=request_id, outcome=OUTCOME_CLOSED).SerializeToString(),
        )


def results() -> Iterator[bytes]:
    """Results of accounts that are open, each with a reference of its own."""
    run = os.urandom(4).hex()
    path = f"/callbacks/{PROVIDERS[0]}/{KEY}/V4/Result"
    for number in count():
        yield request(path, result_body(f"{run}-{number:012}", userId=f"player-{number % USERS}"))


def json_closes() -> Iterator[bytes]:
    """Closes as JSON over HTTP, for what does not speak gRPC."""
    for number in count():
        asked = {
            "request_id": str(uuid4()),
            "provider": PROVIDERS[number % len(PROVIDERS)],
            "user_id": f"player-{number % USERS}",
            "reason": "self-exclusion",
        }
        yield request("/close", json.dumps(asked).encode())
