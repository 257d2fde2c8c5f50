"""The simulator of LuckyMonaco."""

from adapters.luckymonaco_common.simulator import simulator
from adapters.luckymonaco_common.simulator_deliveries import Member

SIMULATOR = simulator(Member(version="V4", provider_id="luckymonaco", clears_history=True))
