"""The tables of a golden file, as `adapters.golden` reads them. Unknown keys are refused."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from adapters.contract import CallbackFault, Outcome, RefusalKind

Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
Amount = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]*)(\.[0-9]{1,18})?$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Pairs = tuple[tuple[str, str], ...]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class AccountTable(Table, frozen=True):
    provider: Text
    token: Text | None = None
    settings: dict[str, Any] = {}


class DeviceTable(Table, frozen=True):
    os: str = ""
    app_version: str = ""


class CallTable(Table, frozen=True):
    user_id: str
    session_id: str = ""
    game_id: str = ""
    token: Text | None = None
    clear_history: bool = False
    device: DeviceTable = DeviceTable()


class AttemptTable(Table, frozen=True):
    number: int = 1
    uuid: str = "0" * 32
    now: Instant = datetime(2026, 1, 1, tzinfo=UTC)


class MessageTable(Table, frozen=True):
    headers: Pairs = ()
    body: str = ""
    printed: str | None = None


class RequestTable(MessageTable, frozen=True, kw_only=True):
    method: Text
    path: Annotated[str, msgspec.Meta(pattern=r"^/")]
    query: Pairs = ()


class ReplyTable(MessageTable, frozen=True, kw_only=True):
    status: Annotated[int, msgspec.Meta(ge=100, le=599)]


class CallExpectTable(Table, frozen=True):
    outcome: Outcome | None = None
    refusal: RefusalKind | None = None
    code: str | None = None
    description: str | None = None
    unsupported: Text | None = None
    field_invalid: Text | None = None


class PromoTable(Table, frozen=True):
    amount: Amount
    reference: str


class SessionExpiredTable(Table, frozen=True, tag_field="type", tag="SessionExpired"):
    provider_id: str
    session_id: str
    user_id: str


class ResultTable(Table, frozen=True, tag_field="type", tag="Result"):
    reference: str
    user_id: str
    currency: str
    amount: Amount
    round_id: str
    game_id: str
    provider_id: str = ""
    session_id: str = ""
    promo: PromoTable | None = None
    bonus_code: str = ""
    promo_campaign_id: str = ""
    promo_campaign_type: str = ""


class AcceptedTable(Table, frozen=True, tag_field="type", tag="Accepted"):
    pass


class CreditedTable(Table, frozen=True, tag_field="type", tag="Credited"):
    transaction_id: str
    currency: str
    cash: Amount
    bonus: Amount | None = None


class FaultTable(Table, frozen=True):
    fault: CallbackFault
    field: str = ""


class RejectedTable(FaultTable, frozen=True, tag_field="type", tag="Rejected"):
    pass


class File(Table, frozen=True):
    source: Text
    operation: str
    account: AccountTable


class CallFile(File, frozen=True):
    call: CallTable
    expect: CallExpectTable
    attempt: AttemptTable = AttemptTable()
    request: RequestTable | None = None
    reply: ReplyTable | None = None


class CallbackFile(File, frozen=True):
    request: RequestTable
    answer: AcceptedTable | CreditedTable | RejectedTable
    reply: ReplyTable
    notification: SessionExpiredTable | ResultTable | None = None
    expect: FaultTable | None = None
