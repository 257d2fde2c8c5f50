"""LuckyMonaco: version V4 of the family, and the member that can clear a round's history.

Documents: 000_b8e14c1351e36174.txt (CloseSession), 002_7007c2a68586bb11.txt (SessionExpired),
004_a93688c609d824ae.txt (Auto Closing, which arrives as Result).
"""

from types import MappingProxyType

from adapters.contract import Adapter
from adapters.luckymonaco_common import MASKED
from adapters.luckymonaco_common.callbacks import result, session_expired
from adapters.luckymonaco_common.closing import close_session
from adapters.luckymonaco_common.settings import FamilySettings

ADAPTER = Adapter(
    name="luckymonaco",
    display_name="LuckyMonaco",
    settings=FamilySettings,
    masked=MASKED,
    close_session=close_session(
        "/V4/CloseSession",
        clears_history=True,
        warning="Not meant for players in normal, active play, as a later public revision of the document warns.",
    ),
    callbacks=MappingProxyType({"V4/SessionExpired": session_expired(), "V4/Result": result()}),
)
