"""The settings of a provider of the LuckyMonaco family."""

import msgspec

from adapters.contract import AdapterSettings
from adapters.luckymonaco_common.codes import CODE, SUCCESS
from adapters.luckymonaco_common.strict_json import SURROGATE


class FamilySettings(AdapterSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one provider. Raises ValueError for values that no vendor of the family issues."""

    secure_login: str
    """The partner id. A sub-brand has another one, and is another provider."""
    no_session_codes: tuple[int | str, ...] = ("17",)
    """Codes that mean that there was no session to close. Kept as text; numbers are accepted."""
    verify_token: bool = False
    """Whether the token in SessionExpired must be ours. By the document it is the player's."""
    require_secure_login: bool = False
    """Whether a callback without secureLogin is refused as one with a wrong one. By the document Result has none."""

    def __post_init__(self) -> None:
        if not self.secure_login or SURROGATE.search(self.secure_login):
            raise ValueError("secure_login is empty or not UTF-8: set it to the partner id that the vendor issued")
        codes = tuple(str(code) for code in self.no_session_codes)
        for code in codes:
            if not CODE.fullmatch(code):
                raise ValueError(f"no_session_codes holds {code!r}: a code is a whole number, for example 17")
            if code == SUCCESS:
                raise ValueError("no_session_codes holds 0, which is success: take it out")
        msgspec.structs.force_setattr(self, "no_session_codes", codes)
