"""Bodies of callbacks that no provider should send: a saved corpus, mutations of it, and strategies of hypothesis."""

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.support.results import RESULT

EXPIRED_MEMBERS = ("providerId", "sessionId", "userId", "token")
NAMES = (*RESULT, *EXPIRED_MEMBERS, "roundId", "secureLogin", "promoWinAmount", "promoWinReference", "bonus")

ODD_VALUES = (
    *("null", "true", "-0", "1e5", "1E400", "1e-9", "01", "NaN", "Infinity", "0.1", "10.50", "9" * 33, "0." + "1" * 19),
    *('""', '"0"', '"-1"', '"1e5"', '" 5 "', '"10.50"', '"\\ud800"', '"\\u0000"', '"\u0663"', '"ref\u200b"', '" ref"'),
    *('"EUR"', '"USD"', '"usd"', '"x"', "[]", "{}", "[[[[1]]]]", '{"a":{"b":[1]}}', '"' + "x" * 300 + '"'),
    "[" * 40 + "]" * 40,
    "[" + "1," * 2500 + "1]",
)
"""Values as JSON text: of another type, of no form, of no JSON at all."""

ODD_BYTES = (b"\x00", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b'"', b"\\", b",", b":", b"[", b"\xe2\x80\xae", b"\n")

CODES = frozenset({0, 52, 54, 57, 59, 62, 64, 999})
"""Codes of the dialect, without 998, which would be a fault of the gateway."""


@cache
def corpus() -> tuple[bytes, ...]:
    """The saved bodies: one a line, as the text of a Python bytes literal without its quotes."""
    lines = Path(__file__).with_name("bodies.corpus").read_text("ascii").splitlines()
    return tuple(line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines if line)


def mutated(random: Random, bodies: Sequence[bytes], reference: str) -> bytes:
    """A body of these with one to four changes; most have this reference, so that some are valid Results."""
    body = random.choice(bodies)
    if random.random() < 0.8:
        body = body.replace(str(RESULT["reference"]).encode(), reference.encode())
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        body = random.choice((_replace_value, _replace_value, _add_member, _replace_byte, _cut, _repeat))(random, body)
    return body


def _replace_value(random: Random, body: bytes) -> bytes:
    """Another value behind a name."""
    name = json.dumps(random.choice(NAMES)).encode()
    at = body.find(name)
    if at < 0:
        return _add_member(random, body)
    start = body.find(b":", at) + 1
    end = min((found for mark in (b",", b"}") if (found := body.find(mark, start)) >= 0), default=len(body))
    return body[:start] + random.choice(ODD_VALUES).encode("utf-8") + body[end:]


def _add_member(random: Random, body: bytes) -> bytes:
    """One more member, which may be there already."""
    member = f"{json.dumps(random.choice(NAMES))}:{random.choice(ODD_VALUES)},".encode()
    return body[:1] + member + body[1:]


def _replace_byte(random: Random, body: bytes) -> bytes:
    at = random.randrange(len(body) + 1)
    return body[:at] + random.choice(ODD_BYTES) + body[at + random.randrange(2) :]


def _cut(random: Random, body: bytes) -> bytes:
    return body[: random.randrange(len(body) + 1)]


def _repeat(random: Random, body: bytes) -> bytes:
    start = random.randrange(len(body) + 1)
    end = min(len(body), start + random.randrange(200))
    return body[:end] + body[start:end] * random.randrange(1, 20) + body[end:]


def credits_in(body: bytes) -> dict[str, Decimal]:
    """What a Result that is answered 0 credits, by reference: its amount and its prize."""
    message: dict[str, Any] = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    credited = {message["reference"]: Decimal(message["amount"])}
    if message.get("promoWinReference"):
        credited[message["promoWinReference"]] = Decimal(message["promoWinAmount"])
    return credited


# --- Strategies -------------------------------------------------------------------------------------------------------

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["", "0", "1e5", "-1", "10.50", "\ud800", "\x00", "x" * 300, "٣", "USD", "EUR"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_DISTORTED = st.builds(
    lambda changes, dropped: json.dumps(
        {name: value for name, value in {**RESULT, **changes}.items() if name not in dropped}
    ).encode(),
    st.dictionaries(st.sampled_from(NAMES), _ODD, max_size=4),
    st.sets(st.sampled_from(NAMES), max_size=2),
)
_CUT = st.builds(lambda body, length: body[:length], _DISTORTED, st.integers(0, 400))
_MUTATED = st.builds(lambda random: mutated(random, corpus(), "ref"), st.randoms(use_true_random=False))

BODIES = st.one_of(
    _DISTORTED, _CUT, _MUTATED, st.binary(max_size=200), st.text(max_size=50).map(lambda text: text.encode("utf-8"))
)
"""Any body: distorted Results, parts of them, mutations of the corpus, and bytes."""
