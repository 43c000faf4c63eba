"""What the parts of one connection share: the broker, who is there, and how to speak to it."""

from dataclasses import dataclass
from typing import Any

import trio

from api.realtime.kept_syncs import KeptSyncs
from api.realtime.outbox import Outbox
from api.realtime.protocol import encode
from broker import Broker, BrokerError
from broker.auth.credentials import Principal
from broker.live.connections import LiveConnection


@dataclass(slots=True)
class Wiring:
    """`principal` changes when the client authenticates again. `tasks`: where what takes time runs;
    it outlives the connection. `readers`: whoever reads on from disk has a place here.
    `syncs`: what other connections were told already."""

    broker: Broker
    held: LiveConnection
    principal: Principal
    outbox: Outbox
    tasks: trio.Nursery
    readers: trio.CapacityLimiter
    syncs: KeptSyncs
    binary: bool
    echo: bool

    @property
    def app(self) -> str:
        return self.principal.app_id

    def refused(self, error: BrokerError, channel: str | None = None) -> None:
        """Count it, and tell those who watch the app's log."""
        self.broker.answers.refused("realtime", error.code)
        self.broker.epoch.app_log.refused(
            self.app,
            error,
            connectionId=self.held.id,
            clientId=self.principal.client_id,
            channel=channel,
        )

    def send(self, message: dict[str, Any]) -> None:
        """A reply: it is never dropped."""
        self.outbox.send(encode(message, binary=self.binary))
