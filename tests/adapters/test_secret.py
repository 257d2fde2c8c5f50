"""A Secret shows itself nowhere."""

import copy
import pickle
import traceback

import msgspec
import pytest

from adapters.contract import Secret
from gateway.config import ProviderSettings, Settings
from gateway.config.references import ReferencedSecret

CANARY = "canary-of-a-secret"


@pytest.mark.parametrize("secret", [Secret(CANARY), ReferencedSecret(CANARY)])
def test_no_text_shows_it(secret: Secret) -> None:
    """Neither repr, str nor any format shows it, alone, in a container or in an error."""
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!a:>40}",
        repr([secret]),
        repr({secret: 1}),
    ]
    shown += traceback.format_exception(KeyError(secret))
    assert not any(CANARY in text for text in shown)
    assert secret == Secret(CANARY)
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("secret", [Secret(CANARY), ReferencedSecret(CANARY)])
def test_it_is_not_serialised(secret: Secret) -> None:
    """Pickling, copying and encoding raise, and the error does not show it."""
    provider = ProviderSettings("acme", token=secret)
    settings = Settings(providers={"acme": provider})
    for serialise in (pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins):
        for value in (secret, provider, settings):
            with pytest.raises(TypeError) as raised:
                serialise(value)
            assert CANARY not in str(raised.value)
            assert CANARY not in repr(value)
