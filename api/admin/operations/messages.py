"""Operations on the messages of a channel: publish them, page through them, follow them.

Messages are given and shown in their JSON wire form. Refuses qualified channels (`[meta]...`).
"""

from collections.abc import AsyncIterator
from typing import Any

from api.admin.operations.arguments import existing_app
from broker import Broker, HistoryQuery
from broker.channels import channel_name
from broker.errors import BadRequest
from broker.messages import serials, wire
from broker.messages.history import LIMIT_DEFAULT, Direction


async def publish(
    broker: Broker, channel: str, messages: list[dict[str, Any]], app: str | None = None
) -> dict[str, Any]:
    """Publish messages in their wire form, all or none."""
    published = await _channel(broker, app, channel).publish_all(wire.read_messages(messages))
    return {
        "channel": channel,
        "messageId": published.message_id,
        "serials": list(published.serials),
        "duplicate": published.duplicate,
    }


async def history(
    broker: Broker,
    channel: str,
    app: str | None = None,
    limit: int = LIMIT_DEFAULT,
    direction: Direction = "backwards",
    start: int = 0,
    end: int | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """A page of at most `limit` messages; `next` is the cursor of the one behind it, None at the
    end. How large a page may be is the broker's setting, so a larger limit is that one."""
    limit = min(limit, broker.settings.history_limit_max)
    behind = serials.parse(cursor, broker.series) if cursor else None
    query = HistoryQuery(start=start, end=end, direction=direction, limit=limit, cursor=behind)
    page = await _channel(broker, app, channel).history_page(query)
    following = page.next.cursor if page.next else None
    return {
        "messages": [wire.to_wire(message, binary=False) for message in page.messages],
        "next": None if following is None else serials.render(following, broker.series),
    }


async def tail(
    broker: Broker, channel: str, app: str | None = None, rewind: int = 0
) -> AsyncIterator[Any]:
    """Messages as they are published, after the last `rewind` ones. The first item is None: from
    then on nothing is missed."""
    async with _channel(broker, app, channel).subscribe(rewind=rewind) as messages:
        yield None
        async for message in messages:
            yield wire.to_wire(message, binary=False)


def _channel(broker: Broker, app: str | None, name: str) -> Any:
    if channel_name.parse(name).qualifier is not None:
        raise BadRequest("messages of a qualified channel cannot be addressed")
    return broker.channel(name, app=existing_app(broker, app))
