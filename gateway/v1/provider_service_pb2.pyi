import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SwitchPosition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SWITCH_POSITION_UNSPECIFIED: _ClassVar[SwitchPosition]
    SWITCH_POSITION_OFF: _ClassVar[SwitchPosition]
    SWITCH_POSITION_ON: _ClassVar[SwitchPosition]
SWITCH_POSITION_UNSPECIFIED: SwitchPosition
SWITCH_POSITION_OFF: SwitchPosition
SWITCH_POSITION_ON: SwitchPosition

class ProviderSwitch(_message.Message):
    __slots__ = ("id", "provider", "position", "time", "switched_by", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    position: SwitchPosition
    time: _timestamp_pb2.Timestamp
    switched_by: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., position: _Optional[_Union[SwitchPosition, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., switched_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SwitchOffProviderRequest(_message.Message):
    __slots__ = ("provider", "switched_by", "reason")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    provider: str
    switched_by: str
    reason: str
    def __init__(self, provider: _Optional[str] = ..., switched_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SwitchOffProviderResponse(_message.Message):
    __slots__ = ("provider_switch", "switched")
    PROVIDER_SWITCH_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    provider_switch: ProviderSwitch
    switched: bool
    def __init__(self, provider_switch: _Optional[_Union[ProviderSwitch, _Mapping]] = ..., switched: _Optional[bool] = ...) -> None: ...

class SwitchOnProviderRequest(_message.Message):
    __slots__ = ("provider", "switched_by", "reason")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    provider: str
    switched_by: str
    reason: str
    def __init__(self, provider: _Optional[str] = ..., switched_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SwitchOnProviderResponse(_message.Message):
    __slots__ = ("provider_switch", "switched")
    PROVIDER_SWITCH_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    provider_switch: ProviderSwitch
    switched: bool
    def __init__(self, provider_switch: _Optional[_Union[ProviderSwitch, _Mapping]] = ..., switched: _Optional[bool] = ...) -> None: ...

class ListProviderSwitchesRequest(_message.Message):
    __slots__ = ("provider", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProviderSwitchesResponse(_message.Message):
    __slots__ = ("provider_switches", "next_page_token")
    PROVIDER_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_switches: _containers.RepeatedCompositeFieldContainer[ProviderSwitch]
    next_page_token: str
    def __init__(self, provider_switches: _Optional[_Iterable[_Union[ProviderSwitch, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
