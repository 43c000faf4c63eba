"""Whether a request wrote anything: what the server writes by itself is looked past."""

from broker.event import Kind
from broker.events import ChannelOpened
from broker.push.events import DeliverySettled, PublishProgressed
from storage import Record
from tests.api.push_bodies import TARGET
from tests.api.rest_server import RestServer
from tests.api.test_rest_fuzz import records_since


async def was_written(server: RestServer, before: int) -> bool:
    """By a request: apart from usage, and from what comes of notifications later."""
    if server.broker.log.position == before:
        return False
    return any(not is_by_itself(record) for record in await records_since(server, before))


def is_by_itself(record: Record) -> bool:
    if isinstance(record.event, PublishProgressed | DeliverySettled):
        return True
    is_opening = isinstance(record.event, ChannelOpened)
    channel = record.event.channel if is_opening else record.stream.channel
    return channel == TARGET or channel.startswith("[meta]") or record.stream.kind == Kind.STATS
