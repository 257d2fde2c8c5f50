"""TLS of the connections to providers. Names are always checked, and TLS 1.2 is the oldest version."""

import asyncio
import ssl
import threading
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

from gateway.outbound.shortage import refuse_without_files

CLIENT_CERTIFICATE_ALERTS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""Python's names of the alerts with which a server rejects a client's certificate, or requires one."""


@dataclass(frozen=True, slots=True)
class ProviderTls:
    """The TLS settings of one provider. Equal where the contents of its files are equal."""

    digests: tuple[bytes, ...] = field(repr=False)
    context: ssl.SSLContext = field(compare=False, repr=False)


def read_tls(ca: Path | None, cert: Path | None, key: Path | None) -> ProviderTls:
    """Read PEM files: the authority of the provider's certificate (the system's where None), and our own certificate
    with its key. Raises OSError where they are not PEM, the key is encrypted, or it is another certificate's.
    """
    # The digests first: a file that changes meanwhile then differs at the next reload.
    digests = tuple(sha256(file.read_bytes()).digest() if file else b"" for file in (ca, cert, key))
    context = _context(ca)
    if cert:
        context.load_cert_chain(cert, key, password="")  # nobody is asked for the password of an encrypted key
    return ProviderTls(digests, context)


def load_ssl_context() -> asyncio.Future[ssl.SSLContext]:
    """`tls_context` in a thread: the first call reads from disk."""
    return asyncio.get_running_loop().run_in_executor(None, tls_context)


def tls_context() -> ssl.SSLContext:
    """The TLS settings of providers without their own: the system's authorities. Created once."""
    with _CREATING:
        return create_tls_context()


_CREATING = threading.Lock()


@cache
def create_tls_context() -> ssl.SSLContext:
    """Create the context, or return the one of the first call. Raises OSError, and the next call tries again, where it
    could read no authority because this host has no file left: OpenSSL passes over what it cannot open.
    """
    context = _context(None)
    if not context.cert_store_stats()["x509_ca"]:
        refuse_without_files()
    return context


def _context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # some systems build Python with an older one
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context
