"""The secrets of a configuration."""

from pathlib import Path

import pytest

from gateway.server.validation import secrets_of
from tests.support.configured import GOOD_PROVIDER, KEY, read


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("postgresql://gateway:hunter%2F22@db.example/gateway", {"hunter/22", "hunter%2F22"}),
        ("postgresql://db.example/gateway?user=gateway&password=hunter22", {"hunter22"}),
        ("postgresql://db.example/gateway?user=gateway&password=key%20pass", {"key pass", "key%20pass"}),
        ("postgresql://gateway@db.example/gateway", set()),
        ("sqlite:///gateway.db", set()),
    ],
)
def test_every_secret_is_listed(tmp_path: Path, url: str, passwords: set[str]) -> None:
    """Tokens, callback keys, an adapter's secrets and the decoded password of the store's url are secrets."""
    settings = read(
        tmp_path,
        f'[store]\nurl = "{url}"\n[providers.acme]\n{GOOD_PROVIDER}token = "a-token"\ncallback_keys = ["{KEY}"]\n'
        "signing_key = { env = 'SIGNING_KEY' }\n",
        SIGNING_KEY="an-adapters-own",
    )
    known = {secret.reveal() for secret in secrets_of(settings)}
    assert known == {"a-token", KEY, "an-adapters-own", *passwords}
