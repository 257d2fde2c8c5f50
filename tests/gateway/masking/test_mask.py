"""The mask removes secrets and leaves all other bytes as they are."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from time import process_time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.contract import Secret, SensitiveFields
from gateway.masking.by_field_name import SecretFieldMatcher
from gateway.masking.by_value import KnownSecrets
from gateway.masking.mask import KEPT_BYTES, Mask

NAMES = SensitiveFields(headers=frozenset({"SessionID"}), fields=frozenset({"token", "secureLogin", "hash"}))
SECRET = 'p\\q/"r é+&k€y😀 0123'
BY_NAME = Mask(NAMES, ())
BY_VALUE = Mask(SensitiveFields(), (Secret(SECRET),))


# --- By name, in JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ('{"token":"hunter22","a":1.10}', '{"token":"***","a":1.10}'),
        ('{ "a" : [ { "TOKEN" : "hunter22" } ] , "b" : 1e5 }', '{ "a" : [ { "TOKEN" : "***" } ] , "b" : 1e5 }'),
        ('{"token":1234567.50 ,"a":-0}', '{"token":"***" ,"a":-0}'),
        ('{"token":true,"hash":null}', '{"token":"***","hash":"***"}'),
        ('{"token":["hunter22",{"x":"]}"}],"a":1}', '{"token":"***","a":1}'),
        ('{"token":{"x":["hun\\"ter}22"]},"a":1}', '{"token":"***","a":1}'),
        ('{"token":"hun\\"ter22\\\\","a":"\\\\"}', '{"token":"***","a":"\\\\"}'),
        ('{"t\\u006fk\\u0045n":"hunter22"}', '{"t\\u006fk\\u0045n":"***"}'),
        ('{"token":"","a":1}', '{"token":"","a":1}'),
        ('{"a":"token","b":["token"]}', '{"a":"token","b":["token"]}'),
        ('{"tokens":1,"atoken":2,"a\\"token":3}', '{"tokens":1,"atoken":2,"a\\"token":3}'),
        # not JSON
        ('{\n "providerId": "x"\n "token" : "hunter22"\n "a": 1', '{\n "providerId": "x"\n "token" : "***"\n "a": 1'),
        ('{"token":hunter22 "a":1', '{"token":"***" "a":1'),
        ('{"token":\'hunt,er22\',"a":1', '{"token":"***","a":1'),
        ('{"token":"hunter22', '{"token":"***'),
        ('{"token":["hunter22"', '{"token":"***"'),
        ('{"a":"an odd quote" x","token":"hunter22"}', '{"a":"an odd quote" x","token":"***"}'),
        ('{"a: 1, "token": "hunter22"}', '{"a: 1, "token": "***"}'),
        ('"token": "hunter22"} garbage {"token": "hunter22"}', '"token": "***"} garbage {"token": "***"}'),
        ('{"token":', '{"token":'),
        # JSON in a JSON string
        ('{"d":"{\\"token\\":\\"hunter22\\",\\"b\\":1}","e":2}', '{"d":"{\\"token\\":\\"***\\",\\"b\\":1}","e":2}'),
        ('{"d":"{\\"token\\": 22,\\n\\"b\\":1}"}', '{"d":"{\\"token\\": \\"***\\",\\n\\"b\\":1}"}'),
        ('{"d":"{\\"token\\":\\"hunter22","e":2}', '{"d":"{\\"token\\":\\"***","e":2}'),
        ('{"d":"{\\"token\\":[\\"hunter22","e":2}', '{"d":"{\\"token\\":\\"***\\"","e":2}'),
        # a URL in a JSON string
        ('{"url":"https://x/?a=1&token=hunter22&b=2"}', '{"url":"https://x/?a=1&token=***&b=2"}'),
        ('{"url":"https://x/?token=hunter22","b":2}', '{"url":"https://x/?token=***","b":2}'),
    ],
)
def test_json_members_are_masked_by_name(body: str, kept: str) -> None:
    """A member's value of any type is masked, in valid and invalid JSON, and nothing else is."""
    assert BY_NAME.body(body.encode()).decode() == kept


KEYS = st.text(max_size=5).filter(lambda key: key.lower() not in {"token", "hash"})
"""Names of members that are not secret."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MARKER = "hunter22"


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, Any]:
    """A document with marked values under secret names at any depth, and the same document masked."""
    if draw(st.integers(0, 3)) == 0:
        plain = draw(JSON)
        return plain, plain
    if draw(st.booleans()):
        items = draw(st.lists(documents(), max_size=3))
        return [item for item, _ in items], [kept for _, kept in items]
    document, masked = {}, {}
    for key, (value, kept) in draw(st.dictionaries(KEYS, documents(), max_size=3)).items():
        document[key], masked[key] = value, kept
    if draw(st.booleans()):
        name = "".join(draw(st.sampled_from([c.lower(), c.upper()])) for c in draw(st.sampled_from(["token", "hash"])))
        secret = draw(st.sampled_from([MARKER, 22.5, True, [MARKER, '"]'], {"a": {"}": MARKER}}, 'x"\\' + MARKER]))
        document[name], masked[name] = secret, "***"
    return document, masked


@given(
    documents(),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]),
    st.integers(0, 2),
    st.booleans(),
)
def test_only_secret_members_of_any_document_change(
    document: tuple[Any, Any], ascii_only: bool, separators: tuple[str, str], nested: int, spelled: bool
) -> None:
    """In any spelling, and within strings of other documents, only the values of secret members change."""

    def written(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
        if spelled:
            text = re.sub('"t(?=oken"|OKEN")', r'"\\u0074', text)
        for _ in range(nested):
            text = json.dumps({"inside": text}, ensure_ascii=ascii_only, separators=separators)
        return text

    original, kept = document
    assume("=" not in written(original))
    assert BY_NAME.body(written(original).encode("utf-8", "surrogatepass")) == written(kept).encode(
        "utf-8", "surrogatepass"
    )


# --- By name, elsewhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("token=hunter22&a=1", "token=***&a=1"),
        ("a=%20+&TOKEN=hunt er;22&b", "a=%20+&TOKEN=***&b"),
        ("%74oken=hunter22", "%74oken=***"),
        ("atoken=1&tokena=2&token=&a", "atoken=1&tokena=2&token=&a"),
        ("next=/x?token=hunter22", "next=/x?token=***"),
    ],
)
def test_form_fields_are_masked_by_name(body: str, kept: str) -> None:
    """A field's value is masked up to the next one, its name percent-encoded or not."""
    assert BY_NAME.body(body.encode()).decode() == kept


def test_headers_are_masked_by_name() -> None:
    """Headers that the dialect declares, and HTTP's credentials, are masked in any case; other lines stay."""
    headers = (
        ("Content-Type", "application/json; multipart/form-data;"),
        ("Sessionid", "hunter22"),
        ("authorization", "Basic hunter22"),
        ("Set-Cookie", "s=hunter22"),
        ("Location", "https://x/?token=hunter22&a=1"),
    )
    assert BY_NAME.head(headers) == (
        "Content-Type: application/json; multipart/form-data;\n"
        "Sessionid: ***\nauthorization: ***\nSet-Cookie: ***\nLocation: https://x/?token=***&a=1"
    )


def test_a_query_is_masked_by_name_and_by_value() -> None:
    """A query is returned as in a URL, with its question mark; an empty one as an empty text."""
    query = (("a b", "c&d"), ("Token", "hunter22"), ("x", f"1{SECRET}2"))
    assert Mask(NAMES, (Secret(SECRET),)).query(query) == "?a%20b=c%26d&Token=***&x=1***2"
    assert BY_NAME.query(()) == ""


# --- By value ---------------------------------------------------------------------------------------------------------


def mixed(text: str) -> str:
    """JSON with every second character escaped, in capitals: unusual but valid."""
    return "".join(
        f"\\u{ord(c):04X}" if i % 2 and ord(c) < 0x10000 else json.dumps(c)[1:-1] for i, c in enumerate(text)
    )


@pytest.mark.parametrize(
    "disguised",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(SECRET))[3:-3],
        json.dumps(SECRET)[1:-1].replace("/", "\\/").replace("\\u20ac", "\\u20AC"),
        mixed(SECRET),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        quote(quote(SECRET, safe=""), safe=""),
        "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    ],
)
def test_a_known_secret_is_masked_in_every_encoding(disguised: str) -> None:
    """Raw, JSON-escaped or percent-encoded, once or twice: it is masked wherever it occurs."""
    assert BY_VALUE.body(f"<{disguised}>".encode()) == b"<***>"
    assert BY_VALUE.text(f"{disguised} {disguised}") == "*** ***"
    assert BY_VALUE.head((("X", f"a{disguised}"),)) == "X: a***"


@pytest.mark.parametrize("before", ["", "u", "us", "use"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_a_known_secret_is_masked_in_base64(before: str, encode: Any) -> None:
    """Within base64, at each offset, every character that depends on the secret alone is masked."""
    mask = Mask(SensitiveFields(), (Secret("~~~hunter22~~~???"),))
    kept = mask.text(encode(f"{before}:~~~hunter22~~~???:".encode()).decode())
    assert "***" in kept
    assert len(kept) < 16


def as_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def as_json_in_json(text: str) -> str:
    return as_json(as_json(text))


def as_form(text: str) -> str:
    return quote(text, safe="")


@given(
    st.text(min_size=4, max_size=12, alphabet=st.characters(exclude_categories=["Cs"])),
    st.lists(st.text(min_size=1, max_size=10, alphabet=" .xyz"), min_size=2, max_size=4),
    st.sampled_from([str, as_json, as_json_in_json, as_form]),
)
def test_only_the_secret_changes(secret: str, around: list[str], encode: Callable[[str], str]) -> None:
    """Any secret in any text is replaced in each encoding, and nothing else is."""
    assume(not set(secret) & set(" .xyz*"))
    assume(len(secret.strip("\\")) == len(secret))  # next to a backslash, it is ambiguous whose backslash it is
    assert Mask(SensitiveFields(), (Secret(secret),)).text(encode(secret).join(around)) == "***".join(around)


def test_overlapping_secrets_leave_no_rest() -> None:
    """If one secret ends inside another, or inside itself, nothing of either remains."""
    mask = Mask(SensitiveFields(), (Secret("abcabc"), Secret("cabcde")))
    assert mask.text("<abcabcabcde>") == "<***>"
    assert mask.text("<abcabcabcabc\\u0063>") == "<***\\u0063>"
    assert Mask(SensitiveFields(), (Secret('a":"b'),)).text('{"x":"a":"b"}') == '{"x":"***"}'


def test_a_secret_equal_to_a_secret_name_hides_no_value() -> None:
    """A token that is the word 'token' is masked, and so is the value of the member of that name."""
    assert Mask(NAMES, (Secret("token"),)).text('{"token":"hunter22"}') == '{"***":"***"}'


def test_short_secrets_are_masked_by_name_only() -> None:
    """A secret of three characters changes no amount and no id that contains it."""
    assert (
        Mask(NAMES, (Secret("123"), Secret(""))).text('{"amount":1230,"token":"123"}')
        == '{"amount":1230,"token":"***"}'
    )


def test_additional_secrets_hold_for_one_message() -> None:
    """A caller's token is masked in the message that it was given with, and in no other."""
    token = Secret("the-players-token")
    also = BY_VALUE.also(token)
    assert also.body(b'{"echo":"the-players-token"}') == b'{"echo":"***"}'
    assert also.text("the-players-token") == "***"
    assert also.head((("X", "the-players-token"),)) == "X: ***"
    assert also.query((("x", "the-players-token"),)) == "?x=***"
    assert BY_VALUE.text("the-players-token") == "the-players-token"


def test_the_mask_does_not_show_its_secrets() -> None:
    """The repr of a mask holds none of its secrets."""
    assert "0123" not in repr(BY_VALUE)


# --- Any bytes --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b'"token"', b'\\"token\\"', b":", b'"', b"\\", b"{", b"[", b"]", b"}", b"&token=", b"%", b"\xff"]
)


@given(st.lists(PIECES | st.binary(max_size=6), max_size=30).map(b"".join))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """Any bytes can be masked as a body, a text and a query."""
    mask = Mask(NAMES, (Secret(SECRET),))
    mask.body(data)
    mask.text(data.decode("latin-1"))
    mask.text(data.decode("utf-8", "surrogateescape"))
    mask.query((("x", data.decode("utf-8", "surrogateescape")),))


@pytest.mark.parametrize(
    "piece",
    [
        b'"token":',
        b'"token":{',
        b'"token":"',
        b'"token"      ',
        b"\\",
        b'"',
        b'\\"',
        b" ",
        b"a",
        b"token=&",
        b"token",
        b"%25",
        b"\\u0074",
        b'"token\\',
        b"'",
        b"{",
    ],
)
def test_time_is_linear_in_the_bytes(piece: bytes) -> None:
    """The processor time of masking is linear in the bytes, whichever piece is repeated."""
    mask = Mask(NAMES, (Secret("aaaaaaaaaaaaaaaaaaaaaaaaaaaab"), Secret("\\\\\\\\\\\\\\\\x")))

    def seconds(size: int) -> float:
        data = piece * (size // len(piece))
        began = process_time()
        mask.body(data)
        return process_time() - began

    small = min(seconds(1 << 14) for _ in range(3))
    assert min(seconds(1 << 18) for _ in range(3)) < 100 * small + 0.5


def test_a_long_body_is_cut_after_masking() -> None:
    """A long body is cut, with a note of what is missing, and without half a secret at the cut."""
    body = b"x" * (KEPT_BYTES - 3) + SECRET.encode() + b"y" + SECRET.encode() + b"y" * 1000
    kept = BY_VALUE.body(body)
    assert kept.startswith(b"x" * (KEPT_BYTES - 3) + b"***...")
    assert b"cut" in kept
    assert len(kept) < KEPT_BYTES + 100
    assert SECRET.encode()[:3] not in kept


@pytest.mark.parametrize(
    "body",
    [
        b"{'token': 'hunter22'}",
        b"{token:hunter22}",
        b'{"token"="hunter22"}',
        b"<token>hunter22</token>",
        b'<a token="hunter22"/>',
        b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nhunter22\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="token"\r\nContent-Type: text/plain\r\n\r\nhunter22\r\n--x--',
    ],
)
def test_a_body_of_unknown_format_shows_no_value_of_a_secret_name(body: bytes) -> None:
    """A body that no parser accepts is kept for an operator, with its token masked."""
    kept = BY_NAME.body(body)
    assert b"hunter22" not in kept
    assert b"token" in kept


@pytest.mark.parametrize(
    "body",
    ['{"token":"hunter22"}'.encode("utf-16"), '{"token":"hunter22"}'.encode("utf-16-le"), b"\x1f\x8b\x08x", b"\0"],
)
def test_a_body_that_is_not_text_is_kept_by_its_digest(body: bytes) -> None:
    """A body that could hold a secret in an encoding that is not searched is kept as length and digest."""
    assert BY_NAME.body(body).startswith(b"(not kept: %d bytes that are not text" % len(body))


def test_the_value_of_a_field_is_not_searched_again() -> None:
    """Many fields of a secret name in one value are found as one, so that time stays linear."""
    body = b"token=aaa " * 6500
    assert BY_NAME.body(body)[:9] == b"token=***"
    assert len(list(SecretFieldMatcher(["token"]).in_body(body))) == 1


def test_a_learnt_secret_is_masked_from_then_on() -> None:
    """Every mask that shares the secrets masks a new one, also for one message, and in headers that it cached."""
    secrets = KnownSecrets([Secret("known-before")])
    mask, other = Mask(SensitiveFields(), secrets), Mask(NAMES, secrets)
    also = mask.also(Secret("of-one-message"))
    words = "known-before learnt-later of-one-message"
    headers = (("X", words),)
    assert mask.head(headers) == "X: *** learnt-later of-one-message"
    secrets.learn([Secret("learnt-later")])
    for each in (mask, other):
        assert each.text(words) == "*** *** of-one-message"
        assert each.head(headers) == "X: *** *** of-one-message"
        assert each.body(words.encode()) == b"*** *** of-one-message"
    assert also.text(words) == also.also(Secret("learnt-later")).text(words) == "*** *** ***"
    assert also.also(Secret("another-one")).text(f"{words} another-one") == "*** *** *** ***"
    assert also.head(headers) == "X: *** *** ***"
