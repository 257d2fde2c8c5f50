"""What speaks gRPC is chosen by one word."""

from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, FrontEnd, load
from tests.support.gateway import configuration


@pytest.mark.parametrize(
    ("line", "front_end"),
    [("", FrontEnd.GRPCIO), ('front_end = "grpcio"', FrontEnd.GRPCIO), ('front_end = "http2"', FrontEnd.HTTP2)],
)
def test_it_is_grpcio_unless_another_is_asked_for(tmp_path: Path, line: str, front_end: FrontEnd) -> None:
    assert load(configuration(tmp_path, grpc=line), {}).grpc.front_end is front_end


@pytest.mark.parametrize("value", ['"quick"', '""', "2"])
def test_another_word_is_refused_by_its_path(tmp_path: Path, value: str) -> None:
    """With the words that there are, where it is one."""
    with pytest.raises(ConfigInvalid) as refused:
        load(configuration(tmp_path, grpc=f"front_end = {value}"), {})
    (problem,) = refused.value.problems
    assert problem.path == "grpc.front_end"
    assert value != '"quick"' or "grpcio, http2" in str(problem)
