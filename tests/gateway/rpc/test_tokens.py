"""Tokens: which are accepted, which are refused, and what a refusal shows."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.rpc import tokens
from gateway.rpc.tokens import (
    LEEWAY_S,
    MAX_KEYS,
    MAX_TOKEN_BYTES,
    KeysInvalid,
    TokenRefused,
    TokenVerifier,
    VerifiedToken,
    read_keys,
)
from tests.support.callers import AUDIENCE, EC_KEY, ISSUER, OTHER_KEY, RSA_KEY, claims, public_jwk, token

ED_KEY = ed25519.Ed25519PrivateKey.generate()

EC_JWK, RSA_JWK = public_jwk(EC_KEY, kid="ec"), public_jwk(RSA_KEY, kid="rsa")


def verifier(*keys: dict[str, Any], verified: dict[bytes, VerifiedToken] | None = None) -> TokenVerifier:
    content = json.dumps({"keys": keys or (EC_JWK, RSA_JWK)}).encode()
    return TokenVerifier(ISSUER, AUDIENCE, read_keys(content), verified)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(header: dict[str, Any], secret: bytes | None = None) -> str:
    """A token with this header, without a signature or with an HMAC of this secret."""
    signed = f"{part(header)}.{part(claims())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret is not None else b""
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def refusal(value: str, by: TokenVerifier | None = None) -> str:
    """Why a token is refused."""
    with pytest.raises(TokenRefused) as refused:
        (by or verifier()).verify(value)
    return str(refused.value)


RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

WITHOUT_SUB = {name: value for name, value in claims().items() if name != "sub"}

ATTACKS = {
    "alg none": (forged({"alg": "none", "kid": "rsa"}), "no configured key"),
    "alg None": (forged({"alg": "None"}), "no configured key"),
    "no alg": (forged({"kid": "rsa"}), "no configured key"),
    "HS256 with the public key": (forged({"alg": "HS256", "kid": "rsa"}, RSA_PEM), "no configured key"),
    "HS256 with the key file": (forged({"alg": "HS256"}, json.dumps(RSA_JWK).encode()), "no configured key"),
    "RS384 by an RS256 key": (jwt.encode(claims(), RSA_KEY, "RS384", {"kid": "rsa"}), "no configured key"),
    "PS256 by an RS256 key": (jwt.encode(claims(), RSA_KEY, "PS256", {"kid": "rsa"}), "no configured key"),
    "key in the header": (jwt.encode(claims(), OTHER_KEY, "ES256", {"jwk": public_jwk(OTHER_KEY)}), "no configured"),
    "another key": (token(key=OTHER_KEY), "no configured key"),
    "another key, no kid": (token(key=OTHER_KEY, kid=None), "no configured key"),
    "the kid of another key": (token(key=EC_KEY, kid="rsa"), "no configured key"),
    "unknown kid": (token(kid="other"), "kid"),
    "kid is a path": (token(kid="../../etc/passwd"), "kid"),
    "kid is no text": (forged({"alg": "ES256", "kid": 7}), "not a JWT"),
    "crit": (forged({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": True}), "crit"),
    "unknown crit": (jwt.encode(claims(), EC_KEY, "ES256", {"kid": "ec", "crit": ["exp"]}), "not a JWT"),
    "wrong iss": (token(iss="https://other.example"), "iss"),
    "iss with a slash": (token(iss=f"{ISSUER}/"), "iss"),
    "iss is a list": (token(iss=[ISSUER]), "iss"),
    "no iss": (token(iss=None), "iss"),
    "wrong aud": (token(aud="other"), "aud"),
    "no aud": (token(aud=None), "aud"),
    "two other audiences": (token(aud=["other", "more"]), "aud"),
    "two audiences": (token(aud=[AUDIENCE, "other"]), "audiences"),
    "expired": (token(exp=int(time.time()) - LEEWAY_S - 1), "expired"),
    "no exp": (token(exp=None), "exp"),
    "exp is text": (token(exp="never"), ""),
    "exp is infinite": (token(exp=float("inf")), ""),
    "not yet": (token(nbf=int(time.time()) + 10 * LEEWAY_S), "not valid yet"),
    "no sub": (jwt.encode(WITHOUT_SUB, EC_KEY, "ES256", {"kid": "ec"}), "sub"),
    "an empty sub": (token(""), "sub"),
    "too long": (token(more="x" * MAX_TOKEN_BYTES), "longer"),
    "two parts": ("a.b", "not a JWT"),
    "five parts": (f"{token()}.a.b", "not a JWT"),
    "other alphabet": ("é.é.é", "not a JWT"),
    "half a character": ("\ud800.e30.e30", "not a JWT"),
    "nothing": ("", "not a JWT"),
    "deep": (f"{base64.urlsafe_b64encode(b'[' * 4000).decode().rstrip('=')}.e30.", "not a JWT"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_token_is_refused(attack: str) -> None:
    """Each is refused, also the second time, with a reason that shows no part of it."""
    value, reason = ATTACKS[attack]
    by = verifier()
    for _ in range(2):
        shown = refusal(value, by)
        assert reason in shown
        assert not any(len(each) > 3 and each in shown for each in value.split("."))
    assert not by.verified


@pytest.mark.parametrize(
    ("key", "algorithm", "jwk"),
    [
        (EC_KEY, "ES256", EC_JWK),
        (RSA_KEY, "RS256", RSA_JWK),
        (RSA_KEY, "PS512", {**RSA_JWK, "alg": "PS512"}),
        (ED_KEY, "EdDSA", OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True)),
    ],
)
@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE]])
def test_the_algorithm_is_the_keys(key: Any, algorithm: str, jwk: dict[str, Any], audience: Any) -> None:
    """A token of the key's own algorithm is accepted, with its kid and without."""
    by = verifier(jwk)
    for kid in filter(None, ({}, {"kid": "x"} if "kid" not in jwk else {"kid": jwk["kid"]})):
        signed = jwt.encode(claims("caller", aud=audience), key, algorithm, headers=kid)
        if "kid" in jwk:
            assert by.verify(signed).subject == "caller"
    assert by.verify(jwt.encode(claims("caller", aud=audience), key, algorithm)).subject == "caller"


def test_a_token_holds_until_its_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the leeway a token holds; a token that was verified before is refused when it has expired."""
    now = time.time()
    by, value = verifier(), token(exp=int(now) - LEEWAY_S // 2)
    assert by.verify(value).expires_at == int(now) - LEEWAY_S // 2 + LEEWAY_S
    monkeypatch.setattr(time, "time", lambda: now + LEEWAY_S)
    assert refusal(value, by) == "it has expired"
    assert not by.verified


def test_a_verified_token_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time costs no signature, and the number of tokens that are remembered is bounded."""
    monkeypatch.setattr(tokens, "_CACHED", 3)
    by = verifier()
    values = [token(f"caller-{number}") for number in range(5)]
    for value in values:
        by.verify(value)
    assert len(by.verified) == 3
    monkeypatch.setattr(jwt, "decode", None)
    assert [by.verify(value).subject for value in values[2:]] == ["caller-2", "caller-3", "caller-4"]


def test_a_removed_key_ends_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that were verified hold with the next verifier where it has their key, issuer and audience."""
    before = verifier()
    of_ec, of_rsa = token(), token(key=RSA_KEY, kid="rsa")
    for value in (of_ec, of_rsa):
        before.verify(value)
    after = verifier(EC_JWK, verified=before.verified)
    assert refusal(of_rsa, after) == "no configured key has its kid"
    other = TokenVerifier(
        "https://other.example", AUDIENCE, read_keys(json.dumps({"keys": [EC_JWK]}).encode()), before.verified
    )
    assert "iss" in refusal(of_ec, other)
    replaced = verifier(public_jwk(OTHER_KEY, kid="ec"), verified=before.verified)
    assert "no configured key" in refusal(of_ec, replaced)
    monkeypatch.setattr(jwt, "decode", None)
    assert after.verify(of_ec).subject == "reader"


@given(
    st.text(max_size=200)
    | st.binary(max_size=100).map(lambda data: f"{part({'alg': 'ES256'})}.{data.hex()}.{data.hex()}")
)
def test_any_text_is_refused(value: str) -> None:
    """No text raises anything but TokenRefused."""
    with pytest.raises(TokenRefused):
        SHARED.verify(value)


SHARED = verifier()


def private_jwk(key: Any) -> dict[str, Any]:
    of = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    return dict(of.to_jwk(key, as_dict=True))


SHORT_KEY = generate_private_key(65537, 1024)  # noqa: S505 - one that must be refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a JWK set"),
        (b"[]", "not a JWK set"),
        (b"\xff", "not a JWK set"),
        (b"[" * 100_000, "not a JWK set"),
        (RSA_PEM, "not a JWK set"),
        (json.dumps({"keys": 1}).encode(), "not a JWK set"),
        (json.dumps({"keys": []}).encode(), "no usable public key"),
        (json.dumps({"keys": [7, {}, {"kty": "new"}, {"kty": "RSA"}, {"kty": "EC", "crv": []}]}).encode(), "no usable"),
        (
            json.dumps({"keys": [RSA_JWK | {"alg": alg} for alg in ("none", "HS256", "RSA-OAEP")]}).encode(),
            "no usable",
        ),
        (json.dumps({"keys": [RSA_JWK | {"use": "enc"}]}).encode(), "no usable"),
        (json.dumps({"keys": [public_jwk(SHORT_KEY)]}).encode(), "no usable"),
        (json.dumps({"keys": [EC_JWK, {"kty": "oct", "k": "c2VjcmV0"}]}).encode(), "symmetric key (keys[1])"),
        (json.dumps({"keys": [private_jwk(EC_KEY)]}).encode(), "private key (keys[0])"),
        (json.dumps({"keys": [EC_JWK, private_jwk(RSA_KEY)]}).encode(), "private key (keys[1])"),
        (json.dumps({"keys": [EC_JWK, RSA_JWK | {"kid": "ec"}]}).encode(), "two keys with one kid"),
        (json.dumps({"keys": [EC_JWK | {"kid": str(number)} for number in range(MAX_KEYS + 1)]}).encode(), "more than"),
    ],
)
def test_an_unusable_key_set_is_refused(content: bytes, reason: str) -> None:
    """A set without a usable public key, with a secret one, or with too many is refused; no part of a key is shown."""
    with pytest.raises(KeysInvalid) as refused:
        read_keys(content)
    assert reason in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


def test_keys_for_something_else_are_ignored(tmp_path: Path) -> None:
    """Keys of other kinds and uses beside a usable one do no harm."""
    keys = [EC_JWK, {"kty": "new"}, RSA_JWK | {"use": "enc", "kid": "e"}, "text"]
    assert [each.key.key_id for each in read_keys(json.dumps({"keys": keys}).encode())] == ["ec"]
