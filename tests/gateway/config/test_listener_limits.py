"""The limits of the listeners, as `load` reads them."""

from pathlib import Path

import pytest

from gateway.config import CallbackSettings, ConfigInvalid, GrpcSettings
from tests.support.configured import read
from tests.support.gateway import family_table

MEBIBYTE = 1024 * 1024


def test_limits_have_defaults(tmp_path: Path) -> None:
    """Without any key the listeners are limited."""
    settings = read(tmp_path, "")
    grpc = settings.grpc
    assert (grpc.max_calls, grpc.max_event_streams, grpc.max_message_bytes) == (1000, 1000, 65_536)
    assert (grpc.max_calls_per_connection, grpc.max_event_streams_per_connection) == (500, 500)
    assert grpc.max_connections == 1000
    assert grpc.max_connection_age_s is None
    callbacks = settings.callbacks
    assert (callbacks.max_connections, callbacks.receive_timeout_s, callbacks.max_body_bytes) == (1000, 5.0, 65536)
    assert callbacks.max_connections_per_source == 500


def test_limits_are_read(tmp_path: Path) -> None:
    """Each key sets its field."""
    settings = read(
        tmp_path,
        """
        [grpc]
        max_calls = 1
        max_event_streams = 2
        max_calls_per_connection = 4
        max_event_streams_per_connection = 5
        max_connections = 6
        max_message_bytes = 16384
        max_connection_age_s = 600
        [callbacks]
        max_connections = 3
        max_connections_per_source = 2
        receive_timeout_s = 0.5
        """,
    )
    assert settings.grpc == GrpcSettings(
        max_calls=1,
        max_event_streams=2,
        max_calls_per_connection=4,
        max_event_streams_per_connection=5,
        max_connections=6,
        max_message_bytes=16384,
        max_connection_age_s=600.0,
    )
    assert settings.callbacks == CallbackSettings(
        max_connections=3, max_connections_per_source=2, receive_timeout_s=0.5
    )


def test_the_share_of_a_provider_is_read(tmp_path: Path) -> None:
    """It is a number of callbacks, of at least 1."""
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:9") + "[providers.lucky.limits]\n"
    assert read(tmp_path, table).providers["lucky"].limits.max_concurrent_callbacks == 400
    text = table + "max_concurrent_callbacks = 7"
    assert read(tmp_path, text).providers["lucky"].limits.max_concurrent_callbacks == 7
    with pytest.raises(ConfigInvalid, match=r"max_concurrent_callbacks.*between 1 and"):
        read(tmp_path, table + "max_concurrent_callbacks = 0")


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("grpc", "max_calls", "0", "between 1 and"),
        ("grpc", "max_calls", "1.5", "whole number"),
        ("grpc", "max_event_streams", '"many"', "whole number"),
        ("grpc", "max_calls_per_connection", "0", "between 1 and"),
        ("grpc", "max_event_streams_per_connection", "0", "between 1 and"),
        ("grpc", "max_connections", "100001", "between 1 and"),
        ("grpc", "max_message_bytes", "16383", "between 16384 and"),
        ("grpc", "max_connection_age_s", "4", "between 5 and"),
        ("callbacks", "max_connections", "0", "between 1 and"),
        ("callbacks", "max_connections_per_source", "0", "between 1 and"),
        ("callbacks", "receive_timeout_s", "10.1", "between 0.1 and 10"),
        ("callbacks", "receive_timeout_s", "0", "between 0.1 and 10"),
        ("callbacks", "max_calls", "1", "unknown"),
    ],
)
def test_a_limit_out_of_bounds_is_refused(tmp_path: Path, section: str, key: str, value: str, message: str) -> None:
    """The problem has the key's path and the bounds."""
    with pytest.raises(ConfigInvalid) as refused:
        read(tmp_path, f"[{section}]\n{key} = {value}")
    (problem,) = refused.value.problems
    assert problem.path == f"{section}.{key}"
    assert message in problem.message
