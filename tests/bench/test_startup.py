"""The start of a gateway is measured."""

from bench.startup import seconds_to_first_answer


def test_a_gateway_starts_and_answers() -> None:
    """The measurement ends with the answer of a real call."""
    assert seconds_to_first_answer(1) > 0
