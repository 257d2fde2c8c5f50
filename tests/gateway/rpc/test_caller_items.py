"""A caller that is bound to providers, and items and callbacks, whose provider only the store knows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import GrpcServerKind
from gateway.v1 import reconciliation_service_pb2 as pb
from tests.support.callers import EC_KEY, JWT, bearer, public_jwk, token, write_keys
from tests.support.gateway import RpcFailure, Running, failure_of, family_table, running_gateway
from tests.support.results import result_body

CALLERS = """
[callers.bound]
jwt_subject = "bound"
roles = ["operator"]
providers = ["kyren"]
[callers.operator]
jwt_subject = "operator"
roles = ["operator"]
"""


@dataclass(frozen=True)
class Reconciled:
    """A gateway, and an item with its callback of each provider."""

    running: Running
    items: dict[str, pb.Item]

    async def call(self, name: str, request: Any, caller: str = "bound") -> Any:
        """Call a method. Returns the answer, or how it failed."""
        method: Any = getattr(self.running.reconciliation, name)
        try:
            return await method(request, metadata=bearer(token(caller)), timeout=30)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)


@pytest.fixture(params=list(GrpcServerKind))
async def reconciled(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Reconciled]:
    write_keys(tmp_path, public_jwk(EC_KEY, kid="ec"))
    tables = [family_table(name, "kyren", "http://127.0.0.1:9") for name in ("kyren", "other")]
    async with running_gateway(tmp_path, *tables, JWT, CALLERS, grpc=f'server = "{request.param}"') as running:
        for name in ("kyren", "other"):
            await running.callback(name, "v1/Result", result_body(f"of-{name}"))
        operator = bearer(token("operator"))
        listed = await running.reconciliation.ListItems(pb.ListItemsRequest(), metadata=operator, timeout=30)
        yield Reconciled(running, {item.provider: item for item in listed.items})


def requests(item: pb.Item) -> dict[str, Any]:
    """The requests that name a record of an item."""
    said = {"actor": "someone", "reason": "looked at it"}
    return {
        "GetItem": pb.GetItemRequest(item_id=item.id),
        "RedeliverCallback": pb.RedeliverCallbackRequest(exchange_id=item.exchange_id, **said),
        "ResolveItem": pb.ResolveItemRequest(item_id=item.id, **said),
    }


async def test_a_bound_caller_acts_on_records_of_its_providers_only(reconciled: Reconciled) -> None:
    """Records of another provider are denied and not changed; its own are served, and to an unbound caller all."""
    for name, request in requests(reconciled.items["other"]).items():
        failure = await reconciled.call(name, request)
        assert isinstance(failure, RpcFailure), name
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
        assert "'other'" in failure.message
        assert failure.certainty == "NOT_SENT"
    kept = await reconciled.call("GetItem", pb.GetItemRequest(item_id=reconciled.items["other"].id), "operator")
    assert not kept.item.HasField("resolution")
    assert not kept.callback.HasField("redelivery")
    for caller, provider in (("bound", "kyren"), ("operator", "other")):
        for name, request in requests(reconciled.items[provider]).items():
            answer = await reconciled.call(name, request, caller)
            assert not isinstance(answer, RpcFailure), (name, answer)


async def test_an_unknown_record_is_unknown_to_a_bound_caller(reconciled: Reconciled) -> None:
    """A record that does not exist is answered as to any other caller."""
    reasons = [
        (await reconciled.call(name, request)).reason
        for name, request in requests(pb.Item(id="none", exchange_id="none")).items()
    ]
    assert reasons == ["ITEM_UNKNOWN", "CALLBACK_UNKNOWN", "ITEM_UNKNOWN"]
