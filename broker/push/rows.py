"""Keys of the rows of push: by digest, for ids are the users', of any length.

devices          app, device                    the Device
clients          app, client, device            the device's id
subscriptions    app, channel, target           the Subscription
targets          app, target, channel           the same, found by who is subscribed
channels         app, name                      how many subscriptions a channel has
addresses        app, address, device           the device's id
topics           app, device, space, name       1, or 0 of one that is off
topic counts     app, device, space             how many of those there are

A subscription to a topic of another space than Ably's channels is among `subscriptions` while it is
not off. The channels and targets are of Ably's channels only.
"""

from hashlib import blake2b

from broker.channels.registry import app_prefix
from broker.push.events import Subscription

TABLE = "push"
DEVICE, CLIENT, SUBSCRIPTION, TARGET, CHANNEL = b"d", b"c", b"s", b"t", b"n"
ADDRESS, TOPIC, TOPICS = b"a", b"o", b"q"
OF_AN_APP = (DEVICE, CLIENT, SUBSCRIPTION, TARGET, CHANNEL, ADDRESS, TOPIC, TOPICS)
DIGEST_BYTES = 16
NAME_BYTES_MAX = 440
TOPIC_BYTES_MAX = 400
OF_DEVICE, OF_CLIENT = b"d", b"c"


def digest(text: str, space: str = "") -> bytes:
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, person=space.encode()).digest()


def device_key(app: str, device: str) -> bytes:
    return DEVICE + app_prefix(app) + digest(device)


def devices_of(app: str, client: str) -> bytes:
    """What begins the rows of a client's devices."""
    return CLIENT + app_prefix(app) + digest(client)


def client_key(app: str, client: str, device: str) -> bytes:
    return devices_of(app, client) + digest(device)


def target_of(subscription: Subscription) -> bytes:
    if subscription.device_id is not None:
        return OF_DEVICE + digest(subscription.device_id)
    return OF_CLIENT + digest(subscription.client_id or "")


def subscribers_of(app: str, channel: str, space: str = "") -> bytes:
    """What begins the rows of the subscriptions to a channel, or to a topic of another space."""
    return SUBSCRIPTION + app_prefix(app) + digest(channel, space)


def subscription_key(app: str, subscription: Subscription) -> bytes:
    topic = subscribers_of(app, subscription.channel, subscription.space)
    return topic + target_of(subscription)


def target_key(app: str, subscription: Subscription) -> bytes:
    return TARGET + app_prefix(app) + target_of(subscription) + digest(subscription.channel)


def subscriptions_of(app: str, *, device: str | None = None, client: str | None = None) -> bytes:
    """What begins the rows of one target's subscriptions."""
    return TARGET + app_prefix(app) + target_of(Subscription("", device, client))


def addressed(app: str, address: bytes) -> bytes:
    """What begins the rows of the devices with an address."""
    return ADDRESS + app_prefix(app) + address


def address_key(app: str, address: bytes, device: str) -> bytes:
    return addressed(app, address) + digest(device)


def topics_of(app: str, device: str, space: str | None = None) -> bytes:
    """What begins the rows of a device's topics, of one space or of all."""
    return (
        TOPIC + app_prefix(app) + digest(device) + ("" if space is None else f"{space}\0").encode()
    )


def topic_key(app: str, device: str, space: str, name: str) -> bytes:
    return topics_of(app, device, space) + name.encode()


def topic_counts_of(app: str, device: str) -> bytes:
    return TOPICS + app_prefix(app) + digest(device)


def topic_count_key(app: str, device: str, space: str) -> bytes:
    return topic_counts_of(app, device) + space.encode()


def channel_name_key(app: str, channel: str) -> bytes:
    """In the order of names: of a long one the beginning, and a digest of the whole."""
    name = channel.encode()
    if len(name) > NAME_BYTES_MAX:
        name = name[:NAME_BYTES_MAX] + digest(channel)
    return CHANNEL + app_prefix(app) + name
