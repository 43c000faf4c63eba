"""`ablyChannel`: a recipient that is a channel of this broker, as SDKs' test suites have it.

The notification is published there as a message named `__ably_push__` whose data is its JSON text,
with the rights of the key in the recipient (reference push.md 3.4). It happens in process, whatever
`ablyUrl` says: a key that is not one of ours is refused, so nothing is ever sent elsewhere.
"""

import json

from broker.auth.authentication import authenticate
from broker.auth.credentials import Keyring
from broker.errors import BrokerError, Overloaded, Unavailable
from broker.messages.message import Message
from broker.publisher import Publisher
from broker.push.transport import (
    PAYLOAD_REJECTED,
    SENT,
    TOKEN_INVALID,
    UNREACHABLE,
    Outgoing,
    Result,
    Verdict,
)
from storage import Log

TRANSPORT = "ablyChannel"
NAME = "__ably_push__"


class ChannelTransport:
    def __init__(self, log: Log, keyring: Keyring, publisher: Publisher) -> None:
        self._log = log
        self._keyring = keyring
        self._publisher = publisher

    def endpoint(self, outgoing: Outgoing) -> str:
        return TRANSPORT

    async def send(self, outgoing: Outgoing) -> Result:
        """Once for each notification: a repeat has the same message id."""
        key = str(outgoing.recipient.get("ablyKey"))
        channel = str(outgoing.recipient.get("channel"))
        text = json.dumps(outgoing.payload, ensure_ascii=False, separators=(",", ":"))
        message = Message(id=outgoing.id, name=NAME, data=text)
        try:
            principal = authenticate(self._keyring, key=key, now_ms=self._log.clock.now())
        except BrokerError as error:
            return Result(verdict=Verdict.DEAD, code=TOKEN_INVALID, message=error.message)
        try:
            await self._publisher.publish(principal, channel, [message])
        except (Overloaded, Unavailable) as error:
            return Result(verdict=Verdict.TRANSIENT, code=UNREACHABLE, message=error.message)
        except BrokerError as error:
            return Result(verdict=Verdict.REJECTED, code=PAYLOAD_REJECTED, message=error.message)
        return SENT
