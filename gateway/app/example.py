"""What the demo plays: one dialect's account and call, as its goldens show them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A dialect with what its document's example says."""

    adapter: str
    display_name: str
    settings: Mapping[str, object]
    """What the adapter adds to a provider's configuration."""
    user_id: str
    session_id: str
    game_id: str
    closes_by_session: bool
    accepts_game: bool
    accepts_clear_history: bool
    expiry_path: str
    """The callback that tells of an expired session; '' where the dialect has none."""
    result_path: str
    """The callback that brings a win; '' where the dialect has none."""
