import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_KIND_UNSPECIFIED: _ClassVar[ItemKind]
    ITEM_KIND_RESULT_REFUSED: _ClassVar[ItemKind]
    ITEM_KIND_RESULT_UNKNOWN: _ClassVar[ItemKind]
    ITEM_KIND_CLOSE_UNKNOWN: _ClassVar[ItemKind]
    ITEM_KIND_RESULT_CONTRADICTED: _ClassVar[ItemKind]
ITEM_KIND_UNSPECIFIED: ItemKind
ITEM_KIND_RESULT_REFUSED: ItemKind
ITEM_KIND_RESULT_UNKNOWN: ItemKind
ITEM_KIND_CLOSE_UNKNOWN: ItemKind
ITEM_KIND_RESULT_CONTRADICTED: ItemKind

class Resolution(_message.Message):
    __slots__ = ("time", "actor", "reason", "on_behalf_of")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "kind", "provider", "user_id", "reference", "request_id", "fault", "field", "detail", "create_time", "exchange_id", "resolution")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: ItemKind
    provider: str
    user_id: str
    reference: str
    request_id: str
    fault: str
    field: str
    detail: str
    create_time: _timestamp_pb2.Timestamp
    exchange_id: str
    resolution: Resolution
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[ItemKind, str]] = ..., provider: _Optional[str] = ..., user_id: _Optional[str] = ..., reference: _Optional[str] = ..., request_id: _Optional[str] = ..., fault: _Optional[str] = ..., field: _Optional[str] = ..., detail: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exchange_id: _Optional[str] = ..., resolution: _Optional[_Union[Resolution, _Mapping]] = ...) -> None: ...

class ListItemsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "provider", "user_id", "resolved")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    provider: str
    user_id: str
    resolved: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., provider: _Optional[str] = ..., user_id: _Optional[str] = ..., resolved: _Optional[bool] = ...) -> None: ...

class ListItemsResponse(_message.Message):
    __slots__ = ("items", "next_page_token")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    next_page_token: str
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetItemRequest(_message.Message):
    __slots__ = ("item_id",)
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    def __init__(self, item_id: _Optional[str] = ...) -> None: ...

class GetItemResponse(_message.Message):
    __slots__ = ("item", "callback")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    item: Item
    callback: RefusedCallback
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., callback: _Optional[_Union[RefusedCallback, _Mapping]] = ...) -> None: ...

class ResolveItemRequest(_message.Message):
    __slots__ = ("item_id", "actor", "reason", "on_behalf_of")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, item_id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class ResolveItemResponse(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: Item
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ...) -> None: ...

class Redelivery(_message.Message):
    __slots__ = ("exchange_id", "actor", "reason", "on_behalf_of")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, exchange_id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class RefusedCallback(_message.Message):
    __slots__ = ("exchange_id", "provider", "operation", "time", "verdict", "detail", "peer", "redeliverable", "not_redeliverable_because", "body", "redelivery")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REDELIVERABLE_FIELD_NUMBER: _ClassVar[int]
    NOT_REDELIVERABLE_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    REDELIVERY_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    provider: str
    operation: str
    time: _timestamp_pb2.Timestamp
    verdict: str
    detail: str
    peer: str
    redeliverable: bool
    not_redeliverable_because: str
    body: str
    redelivery: Redelivery
    def __init__(self, exchange_id: _Optional[str] = ..., provider: _Optional[str] = ..., operation: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verdict: _Optional[str] = ..., detail: _Optional[str] = ..., peer: _Optional[str] = ..., redeliverable: _Optional[bool] = ..., not_redeliverable_because: _Optional[str] = ..., body: _Optional[str] = ..., redelivery: _Optional[_Union[Redelivery, _Mapping]] = ...) -> None: ...

class ListRefusedCallbacksRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "provider")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    provider: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class ListRefusedCallbacksResponse(_message.Message):
    __slots__ = ("callbacks", "next_page_token")
    CALLBACKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    callbacks: _containers.RepeatedCompositeFieldContainer[RefusedCallback]
    next_page_token: str
    def __init__(self, callbacks: _Optional[_Iterable[_Union[RefusedCallback, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RedeliverCallbackRequest(_message.Message):
    __slots__ = ("exchange_id", "actor", "reason", "on_behalf_of")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, exchange_id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class RedeliverCallbackResponse(_message.Message):
    __slots__ = ("exchange_id", "verdict", "detail", "answer")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    verdict: str
    detail: str
    answer: str
    def __init__(self, exchange_id: _Optional[str] = ..., verdict: _Optional[str] = ..., detail: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...
