"""Where to read the numbers of a broker that is being served, for who has only the broker: the
operations of the admin socket. A broker served twice is read where it was served last.
"""

import trio

from api.metrics.catalogue import Sources
from broker import Broker, Unavailable

_SERVED: dict[Broker, Sources] = {}


async def tell(
    sources: Sources,
    stop: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The broker is served from here, until `stop` is set."""
    _SERVED[sources.broker] = sources
    task_status.started()
    try:
        await stop.wait()
    finally:
        if _SERVED.get(sources.broker) is sources:
            del _SERVED[sources.broker]


def sources_of(broker: Broker) -> Sources:
    """Raises Unavailable for a broker that no server is in front of, or not any more."""
    try:
        return _SERVED[broker]
    except KeyError:
        raise Unavailable("this broker is not served, or not yet") from None
