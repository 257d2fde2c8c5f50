"""Whether a configuration can be served: all that can be said of it without the store that it names."""

from collections.abc import Iterable, Mapping

from adapters.registry import Registry
from gateway.config import ConfigInvalid, Problem, Settings
from gateway.server.dialects import ProviderBinding, bind_providers
from gateway.server.validation import unreadable_files
from gateway.server.wallets import calls_itself


def validate(
    settings: Settings, registry: Registry | None = None, others: Iterable[Problem] = ()
) -> Mapping[str, ProviderBinding]:
    """The providers to serve. Raises ConfigInvalid with everything that is wrong, and with what is known already."""
    problems = [*others, *unreadable_files(settings), *calls_itself(settings)]
    try:
        served = bind_providers(settings, registry)
    except ConfigInvalid as invalid:
        problems.extend(invalid.problems)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return served
