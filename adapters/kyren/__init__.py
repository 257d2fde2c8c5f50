"""Kyren: version v1 of the family, without clearHistory, and with sessionId in Result.

Document: 001_2be22584ec1b1196.txt (CloseSession). The callbacks are LuckyMonaco's shape under /v1/ (public revision).
"""

from types import MappingProxyType

from adapters.contract import Adapter
from adapters.luckymonaco_common import MASKED
from adapters.luckymonaco_common.callbacks import result, session_expired
from adapters.luckymonaco_common.closing import close_session
from adapters.luckymonaco_common.settings import FamilySettings

ADAPTER = Adapter(
    name="kyren",
    display_name="Kyren",
    settings=FamilySettings,
    masked=MASKED,
    close_session=close_session(
        "/v1/CloseSession",
        warning="Not meant for players in normal, active play: unfinished rounds end by reconnecting or auto-closing.",
    ),
    callbacks=MappingProxyType({"v1/SessionExpired": session_expired(), "v1/Result": result(names_session=True)}),
)
