import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_CLOSED: _ClassVar[Outcome]
    OUTCOME_NO_ACTIVE_SESSION: _ClassVar[Outcome]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_SESSION_EXPIRED: _ClassVar[EventType]
    EVENT_TYPE_SESSION_CLOSED: _ClassVar[EventType]
    EVENT_TYPE_RESULT_CREDITED: _ClassVar[EventType]
    EVENT_TYPE_RESULT_REFUSED: _ClassVar[EventType]

class CloseScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSE_SCOPE_UNSPECIFIED: _ClassVar[CloseScope]
    CLOSE_SCOPE_USER: _ClassVar[CloseScope]
    CLOSE_SCOPE_SESSION: _ClassVar[CloseScope]

class HealthState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_STATE_UNSPECIFIED: _ClassVar[HealthState]
    HEALTH_STATE_UNTRIED: _ClassVar[HealthState]
    HEALTH_STATE_ANSWERING: _ClassVar[HealthState]
    HEALTH_STATE_FAILING: _ClassVar[HealthState]

class CircuitState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CIRCUIT_STATE_UNSPECIFIED: _ClassVar[CircuitState]
    CIRCUIT_STATE_CLOSED: _ClassVar[CircuitState]
    CIRCUIT_STATE_OPEN: _ClassVar[CircuitState]
    CIRCUIT_STATE_HALF_OPEN: _ClassVar[CircuitState]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_CLOSED: Outcome
OUTCOME_NO_ACTIVE_SESSION: Outcome
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_SESSION_EXPIRED: EventType
EVENT_TYPE_SESSION_CLOSED: EventType
EVENT_TYPE_RESULT_CREDITED: EventType
EVENT_TYPE_RESULT_REFUSED: EventType
CLOSE_SCOPE_UNSPECIFIED: CloseScope
CLOSE_SCOPE_USER: CloseScope
CLOSE_SCOPE_SESSION: CloseScope
HEALTH_STATE_UNSPECIFIED: HealthState
HEALTH_STATE_UNTRIED: HealthState
HEALTH_STATE_ANSWERING: HealthState
HEALTH_STATE_FAILING: HealthState
CIRCUIT_STATE_UNSPECIFIED: CircuitState
CIRCUIT_STATE_CLOSED: CircuitState
CIRCUIT_STATE_OPEN: CircuitState
CIRCUIT_STATE_HALF_OPEN: CircuitState

class CloseSessionRequest(_message.Message):
    __slots__ = ("request_id", "provider", "user_id", "session_id", "game_id", "token", "clear_history", "device", "reason", "on_behalf_of")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLEAR_HISTORY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    provider: str
    user_id: str
    session_id: str
    game_id: str
    token: str
    clear_history: bool
    device: Device
    reason: str
    on_behalf_of: str
    def __init__(self, request_id: _Optional[str] = ..., provider: _Optional[str] = ..., user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., game_id: _Optional[str] = ..., token: _Optional[str] = ..., clear_history: _Optional[bool] = ..., device: _Optional[_Union[Device, _Mapping]] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("os", "app_version")
    OS_FIELD_NUMBER: _ClassVar[int]
    APP_VERSION_FIELD_NUMBER: _ClassVar[int]
    os: str
    app_version: str
    def __init__(self, os: _Optional[str] = ..., app_version: _Optional[str] = ...) -> None: ...

class ProviderAnswer(_message.Message):
    __slots__ = ("code", "description", "http_status")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    code: str
    description: str
    http_status: int
    def __init__(self, code: _Optional[str] = ..., description: _Optional[str] = ..., http_status: _Optional[int] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ("request_id", "outcome", "provider_answer", "end_time", "replayed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ANSWER_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    outcome: Outcome
    provider_answer: ProviderAnswer
    end_time: _timestamp_pb2.Timestamp
    replayed: bool
    def __init__(self, request_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., provider_answer: _Optional[_Union[ProviderAnswer, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "type", "time", "provider", "user_id", "session_id", "request_id", "reference")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: EventType
    time: _timestamp_pb2.Timestamp
    provider: str
    user_id: str
    session_id: str
    request_id: str
    reference: str
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[EventType, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provider: _Optional[str] = ..., user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reference: _Optional[str] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after_event_id", "user_id", "provider", "types")
    AFTER_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    after_event_id: str
    user_id: str
    provider: str
    types: _containers.RepeatedScalarFieldContainer[EventType]
    def __init__(self, after_event_id: _Optional[str] = ..., user_id: _Optional[str] = ..., provider: _Optional[str] = ..., types: _Optional[_Iterable[_Union[EventType, str]]] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("close_scope", "required_fields", "optional_fields", "callbacks", "warning")
    CLOSE_SCOPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    CALLBACKS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    close_scope: CloseScope
    required_fields: _containers.RepeatedScalarFieldContainer[str]
    optional_fields: _containers.RepeatedScalarFieldContainer[str]
    callbacks: _containers.RepeatedScalarFieldContainer[str]
    warning: str
    def __init__(self, close_scope: _Optional[_Union[CloseScope, str]] = ..., required_fields: _Optional[_Iterable[str]] = ..., optional_fields: _Optional[_Iterable[str]] = ..., callbacks: _Optional[_Iterable[str]] = ..., warning: _Optional[str] = ...) -> None: ...

class ProviderDisabled(_message.Message):
    __slots__ = ("actor", "reason", "time", "on_behalf_of")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    actor: str
    reason: str
    time: _timestamp_pb2.Timestamp
    on_behalf_of: str
    def __init__(self, actor: _Optional[str] = ..., reason: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class ProviderHealth(_message.Message):
    __slots__ = ("state", "since", "last_failure", "circuit", "in_flight_calls", "queued_calls", "disabled")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_CALLS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_CALLS_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    state: HealthState
    since: _timestamp_pb2.Timestamp
    last_failure: str
    circuit: CircuitState
    in_flight_calls: int
    queued_calls: int
    disabled: ProviderDisabled
    def __init__(self, state: _Optional[_Union[HealthState, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_failure: _Optional[str] = ..., circuit: _Optional[_Union[CircuitState, str]] = ..., in_flight_calls: _Optional[int] = ..., queued_calls: _Optional[int] = ..., disabled: _Optional[_Union[ProviderDisabled, _Mapping]] = ...) -> None: ...

class CallbackKey(_message.Message):
    __slots__ = ("position", "last_use_time")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    position: int
    last_use_time: _timestamp_pb2.Timestamp
    def __init__(self, position: _Optional[int] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("name", "adapter", "display_name", "capabilities", "health", "callback_keys")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_KEYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    adapter: str
    display_name: str
    capabilities: Capabilities
    health: ProviderHealth
    callback_keys: _containers.RepeatedCompositeFieldContainer[CallbackKey]
    def __init__(self, name: _Optional[str] = ..., adapter: _Optional[str] = ..., display_name: _Optional[str] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., health: _Optional[_Union[ProviderHealth, _Mapping]] = ..., callback_keys: _Optional[_Iterable[_Union[CallbackKey, _Mapping]]] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ...) -> None: ...
