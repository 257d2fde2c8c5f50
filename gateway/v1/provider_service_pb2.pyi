import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProviderState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_STATE_UNSPECIFIED: _ClassVar[ProviderState]
    PROVIDER_STATE_DISABLED: _ClassVar[ProviderState]
    PROVIDER_STATE_ENABLED: _ClassVar[ProviderState]
PROVIDER_STATE_UNSPECIFIED: ProviderState
PROVIDER_STATE_DISABLED: ProviderState
PROVIDER_STATE_ENABLED: ProviderState

class ProviderStateChange(_message.Message):
    __slots__ = ("id", "provider", "state", "time", "actor", "reason", "on_behalf_of")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    state: ProviderState
    time: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[ProviderState, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class DisableProviderRequest(_message.Message):
    __slots__ = ("provider", "actor", "reason", "on_behalf_of")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    provider: str
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, provider: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class DisableProviderResponse(_message.Message):
    __slots__ = ("state_change", "changed")
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    state_change: ProviderStateChange
    changed: bool
    def __init__(self, state_change: _Optional[_Union[ProviderStateChange, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class EnableProviderRequest(_message.Message):
    __slots__ = ("provider", "actor", "reason", "on_behalf_of")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    provider: str
    actor: str
    reason: str
    on_behalf_of: str
    def __init__(self, provider: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class EnableProviderResponse(_message.Message):
    __slots__ = ("state_change", "changed")
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    state_change: ProviderStateChange
    changed: bool
    def __init__(self, state_change: _Optional[_Union[ProviderStateChange, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class ListProviderStateChangesRequest(_message.Message):
    __slots__ = ("provider", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProviderStateChangesResponse(_message.Message):
    __slots__ = ("state_changes", "next_page_token")
    STATE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    state_changes: _containers.RepeatedCompositeFieldContainer[ProviderStateChange]
    next_page_token: str
    def __init__(self, state_changes: _Optional[_Iterable[_Union[ProviderStateChange, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
