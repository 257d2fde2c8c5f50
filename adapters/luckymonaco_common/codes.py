"""The family's error codes, and the meaning of each for a close."""

import re
from types import MappingProxyType

from adapters.contract import RefusalKind

CODE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""A code as text: a whole number, without a leading zero or space around it."""

SUCCESS = "0"

_USER_UNKNOWN = (9, 12, 22, 62)
_CREDENTIALS = (54, 401)
_RETRY = (997, 998)
_DO_NOT_RETRY = (999,)
_OTHERS = (4, 7, 14, 15, 16, 17, 18, 19, 20, 21, 52, 53, 55, 56, 57, 59, 61, 64, 71, 99, 404)

KINDS = MappingProxyType(
    dict.fromkeys(map(str, _USER_UNKNOWN), RefusalKind.USER_UNKNOWN)
    | dict.fromkeys(map(str, _CREDENTIALS), RefusalKind.CREDENTIALS_REJECTED)
    | dict.fromkeys(map(str, _RETRY), RefusalKind.FAILED)
    | dict.fromkeys(map(str, _DO_NOT_RETRY), RefusalKind.FAILED_PERMANENTLY)
    | dict.fromkeys(map(str, _OTHERS), RefusalKind.REFUSED)
)
"""Every code that the vendors list (public revisions); one that is not here is REFUSED_UNLISTED."""
