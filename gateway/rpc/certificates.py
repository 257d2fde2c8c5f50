"""Identity by client certificate: its subject alternative names, read from the certificate with their kind."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509

_CACHED = 1024
"""Certificates that are parsed once. TLS has verified each before it is parsed."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a client's certificate shows."""

    names: frozenset[str]
    """`dns:…`, `uri:…`, `email:…`: the forms of the configuration. The common name is none of them."""
    expires_at: float
    """Seconds since the epoch."""


NO_CERTIFICATE = ClientCertificate(frozenset(), math.inf)


@lru_cache(_CACHED)
def read_certificate(pem: bytes) -> ClientCertificate:
    """Parse a certificate. One that cannot be parsed has no names."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return ClientCertificate(frozenset(_names(names)), certificate.not_valid_after_utc.timestamp())
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return NO_CERTIFICATE


def _names(names: x509.SubjectAlternativeName) -> Iterable[str]:
    """Each name with its kind. What DNS compares without case is in lower case, as in the configuration."""
    yield from (f"dns:{name.lower()}" for name in names.get_values_for_type(x509.DNSName))
    yield from (f"uri:{name}" for name in names.get_values_for_type(x509.UniformResourceIdentifier))
    yield from (f"email:{name.lower()}" for name in names.get_values_for_type(x509.RFC822Name))
