"""Callers of a gateway: their certificates, their tokens, and what the protos offer them."""

import json
import pkgutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import NameOID
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS

import gateway.v1
from tests.support.gateway import RpcFailure, failure_of

ISSUER, AUDIENCE = "https://issuer.example", "session-gateway"

JWT = f'[jwt]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "jwks.json"\n'

PrivateKey = ec.EllipticCurvePrivateKey | RSAPrivateKey

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = generate_private_key(65537, 2048)
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def public_jwk(key: PrivateKey, **members: str) -> dict[str, Any]:
    """The public key as a JWK."""
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        return ECAlgorithm.to_jwk(public, as_dict=True) | members
    return RSAAlgorithm.to_jwk(public, as_dict=True) | members


def write_keys(folder: Path, *keys: dict[str, Any]) -> None:
    """Write the key file of JWT."""
    (folder / "jwks.json").write_text(json.dumps({"keys": keys}))


def claims(sub: str = "reader", **changed: Any) -> dict[str, Any]:
    """The claims of a valid token; those that are changed to None are left out."""
    made = {"sub": sub, "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600, **changed}
    return {name: value for name, value in made.items() if value is not None}


def token(sub: str = "reader", *, key: PrivateKey = EC_KEY, kid: str | None = "ec", **changed: Any) -> str:
    """A signed token."""
    algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
    # PyJWT's own encoding of claims makes no invalid ones.
    payload = json.dumps(claims(sub, **changed)).encode()
    return PyJWS().encode(payload, key, algorithm, headers={"kid": kid} if kid else None)


def bearer(value: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with this token."""
    return (("authorization", f"Bearer {value}"),)


def certificate_of(
    authority: trustme.CA, *names: x509.GeneralName, common_name: str = "client", days: float = 1
) -> tuple[bytes, bytes]:
    """A client certificate of an authority and its key, as PEM. With negative `days` it has expired."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    issuer_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.subject)
        .public_key(OTHER_KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    key = OTHER_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), key


@dataclass(frozen=True)
class Method:
    """A method of the protos."""

    name: str
    """`Service/Method`."""
    descriptor: MethodDescriptor

    def request(self, **fields: Any) -> Any:
        """A request with those of the fields that it has."""
        known = self.descriptor.input_type.fields_by_name
        return GetMessageClass(self.descriptor.input_type)(
            **{name: value for name, value in fields.items() if name in known}
        )

    @property
    def has_provider(self) -> bool:
        """Whether its request names a provider."""
        return "provider" in self.descriptor.input_type.fields_by_name


def _methods() -> Iterator[Method]:
    for module in pkgutil.iter_modules(gateway.v1.__path__):
        if module.name.endswith("_pb2"):
            file = import_module(f"gateway.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    yield Method(f"{service.name}/{method.name}", method)


METHODS: Sequence[Method] = tuple(_methods())
"""Every method of the protos."""


@dataclass(frozen=True)
class Calling:
    """One who calls a gateway, by a channel and metadata."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...] = field(default=())

    async def failure(self, method: Method, request: Any = None) -> RpcFailure | None:
        """Call a method. Returns how it failed."""
        try:
            await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        return None

    async def call(self, method: Method, request: Any = None) -> None:
        """Call a method, a stream until it has begun. Raises grpc.aio.AioRpcError."""
        request = method.request() if request is None else request
        path, encode = f"/gateway.v1.{method.name}", type(request).SerializeToString
        if method.descriptor.server_streaming:
            stream: Any = self.channel.unary_stream(path, encode)(request, metadata=self.metadata, timeout=30)
            await stream.initial_metadata()
            if stream.done():
                await stream.read()
            stream.cancel()
        else:
            call: Any = self.channel.unary_unary(path, encode)
            await call(request, metadata=self.metadata, timeout=30)
