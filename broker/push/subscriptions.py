"""Subscribing devices and clients to channels: commands, and what they come to.

Who may do it was judged before (broker.push.service). Refuses channels whose namespace has no
`push_enabled`, and devices that are not there. Topics of other spaces: broker.push.topics.
"""

from itertools import islice

import msgspec

from broker import tenancy
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.push import registry
from broker.push.events import ChannelSubscribed, ChannelUnsubscribed, Subscription
from broker.push.registry import stream_of
from broker.push.rows import subscriptions_of
from storage import Decision, Rows
from storage.projection import Decide

NOT_PUSH_ENABLED = 40100
ENDED_AT_ONCE = 500


class Subscribe(msgspec.Struct, frozen=True):
    app: str
    subscription: Subscription


class Unsubscribe(msgspec.Struct, frozen=True):
    """Every subscription that matches what is given; at most ENDED_AT_ONCE. Decision.reply:
    whether there are more."""

    app: str
    channel: str | None = None
    device: str | None = None
    client: str | None = None


def subscribe(rows: Rows, command: Subscribe, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    wanted = command.subscription
    if not tenancy.rules(rows, command.app, wanted.channel).push_enabled:
        raise Unauthorized("push is not enabled for this channel's namespace", NOT_PUSH_ENABLED)
    if wanted.device_id is not None and not registry.device(rows, command.app, wanted.device_id):
        raise NotFound("there is no such device")
    if registry.is_subscribed(rows, command.app, wanted):
        return Decision()
    return Decision([(stream_of(command.app), ChannelSubscribed(wanted))])


def unsubscribe(rows: Rows, command: Unsubscribe, ms: int) -> Decision:
    found = _matching(rows, command)
    events = [(stream_of(command.app), ChannelUnsubscribed(one)) for one in found[:ENDED_AT_ONCE]]
    return Decision(events, reply=len(found) > ENDED_AT_ONCE)


def _matching(rows: Rows, command: Unsubscribe) -> list[Subscription]:
    if command.device is None and command.client is None:
        raise BadRequest("name the device or the client whose subscriptions are to go")
    if command.channel is not None:
        one = Subscription(command.channel, command.device, command.client)
        return [one] if registry.is_subscribed(rows, command.app, one) else []
    prefix = subscriptions_of(command.app, device=command.device, client=command.client)
    walk = registry.subscriptions(rows, prefix)
    return [one.value for one in islice(walk, ENDED_AT_ONCE + 1)]


DECIDE: dict[type, Decide] = {
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
}
