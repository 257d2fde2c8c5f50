"""The simulator of Kyren."""

from adapters.luckymonaco_common.simulator import simulator
from adapters.luckymonaco_common.simulator_deliveries import Member

SIMULATOR = simulator(Member(version="v1", provider_id="kyren", result_names_session=True))
