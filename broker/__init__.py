"""Channels, messages, tenancy: the broker as a library. Knows storage, never sockets or HTTP."""

from broker.siblings import ShadowedPackage

# isort: split
from broker.broker import Broker, open  # noqa: A004 - broker.open is the library's verb
from broker.channel import Channel
from broker.errors import (
    BadRequest,
    BrokerError,
    NotFound,
    Overloaded,
    Unauthorized,
    Unavailable,
)
from broker.limits.settings import RateLimitSettings
from broker.messages.history import HistoryPage, HistoryQuery
from broker.messages.message import Message, StoredMessage
from broker.publisher import Published
from broker.settings import BrokerSettings
from storage import Outcome

__all__ = [
    "BadRequest",
    "Broker",
    "BrokerError",
    "BrokerSettings",
    "Channel",
    "HistoryPage",
    "HistoryQuery",
    "Message",
    "NotFound",
    "Outcome",
    "Overloaded",
    "Published",
    "RateLimitSettings",
    "ShadowedPackage",
    "StoredMessage",
    "Unauthorized",
    "Unavailable",
    "open",
]
