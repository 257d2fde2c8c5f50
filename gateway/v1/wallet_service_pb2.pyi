from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyResultRequest(_message.Message):
    __slots__ = ("provider", "reference", "user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference", "session_id", "bonus_code", "promo_campaign_id", "promo_campaign_type")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    PROMO_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PROMO_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    BONUS_CODE_FIELD_NUMBER: _ClassVar[int]
    PROMO_CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    PROMO_CAMPAIGN_TYPE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    reference: str
    user_id: str
    currency: str
    amount: str
    round_id: str
    game_id: str
    promo_amount: str
    promo_reference: str
    session_id: str
    bonus_code: str
    promo_campaign_id: str
    promo_campaign_type: str
    def __init__(self, provider: _Optional[str] = ..., reference: _Optional[str] = ..., user_id: _Optional[str] = ..., currency: _Optional[str] = ..., amount: _Optional[str] = ..., round_id: _Optional[str] = ..., game_id: _Optional[str] = ..., promo_amount: _Optional[str] = ..., promo_reference: _Optional[str] = ..., session_id: _Optional[str] = ..., bonus_code: _Optional[str] = ..., promo_campaign_id: _Optional[str] = ..., promo_campaign_type: _Optional[str] = ...) -> None: ...

class ApplyResultResponse(_message.Message):
    __slots__ = ("transaction_id", "currency", "cash", "bonus", "replayed")
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    transaction_id: str
    currency: str
    cash: str
    bonus: str
    replayed: bool
    def __init__(self, transaction_id: _Optional[str] = ..., currency: _Optional[str] = ..., cash: _Optional[str] = ..., bonus: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class GetBalanceRequest(_message.Message):
    __slots__ = ("user_id", "currency")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    currency: str
    def __init__(self, user_id: _Optional[str] = ..., currency: _Optional[str] = ...) -> None: ...

class GetBalanceResponse(_message.Message):
    __slots__ = ("currency", "cash", "bonus")
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    currency: str
    cash: str
    bonus: str
    def __init__(self, currency: _Optional[str] = ..., cash: _Optional[str] = ..., bonus: _Optional[str] = ...) -> None: ...

class OpenAccountRequest(_message.Message):
    __slots__ = ("user_id", "currency", "opening_balance")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    OPENING_BALANCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    currency: str
    opening_balance: str
    def __init__(self, user_id: _Optional[str] = ..., currency: _Optional[str] = ..., opening_balance: _Optional[str] = ...) -> None: ...

class OpenAccountResponse(_message.Message):
    __slots__ = ("user_id", "currency", "cash")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    currency: str
    cash: str
    def __init__(self, user_id: _Optional[str] = ..., currency: _Optional[str] = ..., cash: _Optional[str] = ...) -> None: ...
