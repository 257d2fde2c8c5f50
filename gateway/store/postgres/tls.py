"""TLS of connections to the server."""

import ssl
from functools import lru_cache
from pathlib import Path

from gateway.store.postgres_url import ClientTlsFiles, SslMode


def client_context(mode: SslMode, files: ClientTlsFiles | None) -> ssl.SSLContext:
    """The TLS of a mode other than `disable`. Renewed files are read again. It blocks on files; raises OSError."""
    ca, cert, key = (files.ca, files.cert, files.key) if files else (None, None, None)
    changed_at = tuple(path.stat().st_mtime_ns for path in (ca, cert, key) if path)
    return _build(mode, ca, cert, key, changed_at)


@lru_cache(maxsize=8)
def _build(
    mode: SslMode, ca: Path | None, cert: Path | None, key: Path | None, changed_at: tuple[int, ...]
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # some systems build Python with an older one
    context.check_hostname = mode is SslMode.VERIFY_FULL
    if mode is SslMode.REQUIRE:
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert, key, password="")  # nobody is asked for the password of an encrypted key
    return context
