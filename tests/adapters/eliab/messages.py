"""The account and the attempt that Eliab's tests start from."""

from datetime import UTC, datetime

from adapters.contract import Account, Attempt, Secret
from adapters.eliab import EliabSettings

ACCOUNT = Account("p", EliabSettings(), Secret("t0ken"))
ATTEMPT = Attempt(1, "0" * 32, datetime(2026, 11, 1, tzinfo=UTC))
