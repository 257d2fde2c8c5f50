"""Identity by JWT: `authorization: Bearer …`, verified with the public keys of a JWK set."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import InvalidSubjectError

MAX_TOKEN_BYTES = 8 * 1024
"""A longer token is refused before it is parsed."""

MAX_KEYS = 8
"""Of one JWK set: a token without `kid` is tried with each of them."""

LEEWAY_S = 60
"""How far the clocks of the issuer and of this host may differ."""

_CACHED = 10_000
"""Verified tokens that are remembered."""

_MAX_EXPIRY = 2**53
"""Seconds since the epoch: a later `exp` is taken for this one."""

_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures by a private key, which this host does not have."""

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that are secret."""


class KeysInvalid(ValueError):
    """A JWK set cannot be used. The message shows no part of a key."""


class TokenRefused(Exception):
    """A token does not name a caller. The message shows no part of the token."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token that was verified shows."""

    subject: str
    expires_at: float
    """Seconds since the epoch, the leeway included."""
    signer: tuple[str, str, str]
    """Issuer, audience, and the digest of the key that it was verified with."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of a JWK set. Its algorithm is the only one that it verifies."""

    key: jwt.PyJWK
    digest: str


def read_keys(content: bytes) -> tuple[PublicKey, ...]:
    """The public keys of a JWK set. Raises KeysInvalid."""
    try:
        keys = json.loads(content)["keys"]
        found = [(index, key) for index, key in enumerate(keys) if isinstance(key, dict)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise KeysInvalid('is not a JWK set, which is JSON such as {"keys": [{"kty": "RSA", …}]}') from None
    for index, key in found:
        if key.get("kty") == "oct":
            raise KeysInvalid(
                f"holds a symmetric key (keys[{index}]): who can verify with it can sign; use public keys"
            )
        if not _PRIVATE.isdisjoint(key):
            raise KeysInvalid(f"holds a private key (keys[{index}]): keep it at the issuer, and write its public key")
    usable = tuple(public for _, raw in found if (public := _public_key(raw)) is not None)
    if not usable:
        raise KeysInvalid(f"holds no usable public key; usable are {', '.join(sorted(_ALGORITHMS))}")
    if len(usable) > MAX_KEYS:
        raise KeysInvalid(f"holds more than {MAX_KEYS} public keys; keep those in use and their successors")
    ids = [each.key.key_id for each in usable if each.key.key_id is not None]
    if len(ids) != len({*ids}):
        raise KeysInvalid("holds two keys with one kid; each needs another")
    return usable


def _public_key(raw: dict[str, Any]) -> PublicKey | None:
    """The key, or None where it is for something else, too short, or of a kind that is not used here."""
    try:
        key = jwt.PyJWK(raw)
        usable = (
            key.algorithm_name in _ALGORITHMS
            and raw.get("use", "sig") == "sig"
            and isinstance(raw.get("kid", ""), str)
            and not key.Algorithm.check_key_length(key.key)
        )
    except (
        jwt.PyJWTError,
        NotImplementedError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ):  # by what a member holds
        return None
    digest = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
    return PublicKey(key, digest) if usable else None


class TokenVerifier:
    """Verifies tokens of one issuer, and remembers those that it has verified until they expire.

    `verified` may be that of a verifier before this one: what its keys have signed and those of this one have not is
    verified again.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: Iterable[PublicKey],
        verified: dict[bytes, VerifiedToken] | None = None,
    ) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys = tuple(keys)
        self._by_id = {each.key.key_id: each for each in self._keys if each.key.key_id is not None}
        self._signers = frozenset((issuer, audience, each.digest) for each in self._keys)
        self.verified = {} if verified is None else verified
        """By SHA-256 of the token, oldest first."""

    def verify(self, token: str) -> VerifiedToken:
        """The subject of a token. Raises TokenRefused."""
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"it is longer than {MAX_TOKEN_BYTES} bytes")
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        found = self.verified.get(digest)
        if found is None or found.signer not in self._signers:
            found = self._verify(token)
            if len(self.verified) >= _CACHED:
                del self.verified[next(iter(self.verified))]
            self.verified[digest] = found
        if found.expires_at <= time.time():
            del self.verified[digest]
            raise TokenRefused("it has expired")
        return found

    def _verify(self, token: str) -> VerifiedToken:
        refused = TokenRefused("no configured key has signed it")
        for each in self._candidates(token):
            try:
                claims = jwt.decode(
                    token,
                    each.key,
                    algorithms=[each.key.algorithm_name],
                    issuer=self._issuer,
                    audience=self._audience,
                    leeway=LEEWAY_S,
                    options={"require": ["sub", "iss", "aud", "exp"]},
                )
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                continue
            except jwt.PyJWTError as error:
                refused = TokenRefused(_description(error))
                break
            if claims["aud"] not in (self._audience, [self._audience]):
                raise TokenRefused("it is for other audiences too, which could present it here")
            if not claims["sub"]:
                raise TokenRefused("it has no sub")
            expires_at = min(int(claims["exp"]), _MAX_EXPIRY) + LEEWAY_S
            return VerifiedToken(claims["sub"], expires_at, (self._issuer, self._audience, each.digest))
        raise refused

    def _candidates(self, token: str) -> tuple[PublicKey, ...]:
        """The keys that can have signed the token, by its header alone: most of the time goes into a long payload."""
        if token.count(".") != 2 or not token.isascii():
            raise TokenRefused("it is not a JWT")
        try:
            header = jwt.get_unverified_header(token.partition(".")[0] + "..")
        except (jwt.PyJWTError, ValueError):
            raise TokenRefused("it is not a JWT") from None
        if "crit" in header:
            raise TokenRefused("its header has crit, which is not supported")
        keys: Iterable[PublicKey] = self._keys
        if "kid" in header:
            if header["kid"] not in self._by_id:
                raise TokenRefused("no configured key has its kid")
            keys = (self._by_id[header["kid"]],)
        return tuple(each for each in keys if each.key.algorithm_name == header.get("alg"))


_DESCRIPTIONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidIssuerError, "its iss is not that of [jwt] issuer"),
    (jwt.InvalidAudienceError, "its aud is not that of [jwt] audience"),
    (InvalidSubjectError, "its sub is not text"),
)


def _description(error: jwt.PyJWTError) -> str:
    """What is wrong with a token, without the library's text, which can hold parts of it."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no {error.claim}"
    return next((text for kind, text in _DESCRIPTIONS if isinstance(error, kind)), "it is not a valid JWT")
