"""`/channels/{channel}`: the status of a channel; reference 1.6.3, CHD."""

from msgspec import to_builtins
from quart import Blueprint, Response

from api.authentication import authenticate
from api.replies import reply
from api.rest.channel_segment import channel_of
from broker import Broker


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("channels", __name__)

    @blueprint.get("/channels/<segment>")
    async def status(segment: str) -> Response:
        """Every channel is active, whether used before or not: asking is a use of it."""
        channel = channel_of(segment)
        principal = authenticate(broker)
        principal.require("channel-metadata", channel)
        metrics = to_builtins(broker.occupancy(principal.app_id, channel))
        active = {"isActive": True, "occupancy": {"metrics": metrics}}
        return reply({"channelId": channel, "status": active})

    return blueprint
