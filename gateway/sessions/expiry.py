"""Sessions that end at the provider's side."""

from adapters.contract import SessionExpired
from gateway.store.base import Events
from gateway.store.ids import new_id
from gateway.store.models import Event, EventType, Exchange


async def record_expiry(events: Events, expired: SessionExpired, exchange: Exchange) -> bool:
    """Keep an expiry that `exchange` told us of; True where it was not known.

    Said again it makes no second event, and a line of the journal each time. Whether we ever heard of the session does
    not matter: the provider knows. Raises StoreUnavailable.
    """
    event = Event(
        id=new_id(),
        type=EventType.SESSION_EXPIRED,
        time=exchange.ended_at,
        provider=exchange.provider,
        user_id=expired.user_id,
        session_id=expired.session_id,
    )
    return await events.record_expiry(event, expired.provider_id, exchange)
