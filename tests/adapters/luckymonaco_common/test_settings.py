"""The family's settings: what no vendor could have issued is refused when the configuration is read."""

from typing import Any

import msgspec
import pytest

from adapters.luckymonaco_common.settings import FamilySettings


def test_defaults() -> None:
    """Only the partner id is needed: 17 is no active session, and the player's token is not compared."""
    settings = FamilySettings(secure_login="partner")
    assert settings.no_session_codes == ("17",)
    assert settings.verify_token is False


def test_codes_are_kept_as_text() -> None:
    """A code may be written as a number or as text."""
    settings = msgspec.convert({"secure_login": "p", "no_session_codes": [17, "55"]}, FamilySettings)
    assert settings.no_session_codes == ("17", "55")


@pytest.mark.parametrize(
    ("configured", "complaint"),
    [
        ({}, "secure_login"),
        ({"secure_login": ""}, "secure_login"),
        ({"secure_login": "\udc80"}, "secure_login"),
        ({"secure_login": "p", "no_session_codes": ["0"]}, "success"),
        ({"secure_login": "p", "no_session_codes": [17, 0]}, "success"),
        ({"secure_login": "p", "no_session_codes": ["seventeen"]}, "whole number"),
        ({"secure_login": "p", "no_session_codes": [" 17"]}, "whole number"),
        ({"secure_login": "p", "no_session_codes": [True]}, "no_session_codes"),
        ({"secure_login": "p", "verify_token": 1}, "verify_token"),
        ({"secure_login": "p", "secure_logim": "p"}, "secure_logim"),
    ],
)
def test_refuses(configured: dict[str, Any], complaint: str) -> None:
    """A setting that is missing, unknown or impossible is named."""
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(configured, FamilySettings)
