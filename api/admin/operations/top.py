"""What a broker does at this moment, for `tidelog top`: the metrics, and its busiest channels.

The numbers are those of `api.metrics`, by their names; what is counted grows, and a rate is the
difference of two answers by that of their `at`.
"""

from typing import Any

import trio

from api.admin.operations.arguments import INVALID_ARGUMENTS
from broker import Broker
from broker.errors import BadRequest

CHANNELS_MAX = 1_000
CONTAINS_CHARS_MAX = 256


async def top(broker: Broker, contains: str = "", limit: int = CHANNELS_MAX) -> dict[str, Any]:
    """`contains`: only channels whose names do. `found`: how many channels there are of those."""
    if not 0 <= limit <= CHANNELS_MAX:
        raise BadRequest(f"limit must be 0 to {CHANNELS_MAX}", INVALID_ARGUMENTS)
    if len(contains) > CONTAINS_CHARS_MAX:
        raise BadRequest(f"contains exceeds {CONTAINS_CHARS_MAX} characters", INVALID_ARGUMENTS)
    # A server has these loaded; a command that knows all operations would wait for them in vain.
    from api.metrics.exposition import samples
    from api.metrics.served import sources_of

    sources = sources_of(broker)
    busiest = await broker.epoch.channel_counts.busiest(contains, limit)
    return {
        "at": trio.current_time(),
        "time": broker.time_ms(),
        "metrics": await samples(sources),
        "channels": [channel._asdict() for channel in busiest.channels],
        "found": busiest.found,
    }
