"""Channels, messages, tenancy: the broker as a library. Knows storage, never sockets or HTTP."""

from broker.broker import Broker, Published, open  # noqa: A004 - broker.open is the library's verb
from broker.channel import Channel
from broker.errors import (
    BadRequest,
    BrokerError,
    NotFound,
    Overloaded,
    Unauthorized,
    Unavailable,
)
from broker.history import HistoryPage, HistoryQuery
from broker.message import Message, StoredMessage
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
    "StoredMessage",
    "Unauthorized",
    "Unavailable",
    "open",
]
