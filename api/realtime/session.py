"""One connection's protocol, from CONNECTED to its end: messages in, replies and commands out.

Sans-I/O: it is given frames and writes to an outbox; no socket is needed to test it. What each
action does is one row of a table. Time comes from the broker's timers: heartbeats (RTN23), the end
of a token, the prompt to renew it (RTN22).

Invariants: nothing is sent after the end. There is one end, `over`, and it says once what becomes
of the connection: closed by its client, lost with its transport, or another transport's now.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from api.realtime.channels import Channels
from api.realtime.framing import Frame
from api.realtime.protocol import (
    Action,
    Inbound,
    addressed,
    decode,
)
from api.realtime.publisher import Publisher
from api.realtime.wiring import Wiring
from broker import BrokerError
from broker.auth.credentials import (
    INCOMPATIBLE_CLIENT_ID,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    WILDCARD,
    Principal,
)
from broker.auth.revocations import matches
from broker.errors import BadRequest, Unauthorized
from broker.events import TokensRevoked
from broker.live.timers import Timer

SUPERSEDED = 80016
PROMPT_BEFORE_MS = 30_000
GC_GRACE_MS = 86_400_000  # SDKs' tests want exactly a day (reference 3.4)
SITE = "tidelog"


class Options(NamedTuple):
    """What a client asked for when it connected. remain_present_for_ms: None is the default."""

    idle_ms: int
    frame_bytes_max: int
    remain_present_for_ms: int | None = None


class Session:
    """`scope`: of the task that reads for it; cancelled when the session is over."""

    def __init__(
        self, wiring: Wiring, options: Options, scope: trio.CancelScope, *, resumed: bool
    ) -> None:
        self.wiring = wiring
        self.over = False
        self._options = options
        self._scope = scope
        self._channels = Channels(wiring, resumed=resumed)
        self._publisher = Publisher(wiring, resumed=resumed)
        self._timers = wiring.broker.epoch.timers
        self._rate_limits = wiring.broker.epoch.rate_limits
        self._token_timers: list[Timer] = []
        self._heartbeat = self._timers.schedule(options.idle_ms, self._check_idle)
        wiring.held.superseded = self._superseded

    @property
    def is_catching_up(self) -> bool:
        return self._channels.are_catching_up

    def start(self, error: BrokerError | None = None) -> None:
        """Say CONNECTED. `error`: why the connection is not the one that was asked for."""
        self._connected(error)
        self._watch_token()

    def receive(self, frames: list[Frame]) -> None:
        """Everything that one read brought."""
        self.wiring.held.confirmed = True
        if self._rate_limits.is_on and not self._is_let_in(len(frames)):
            return
        for frame in frames:
            if self.over:
                break
            self._handle(frame)
        self._publisher.flush()

    def _is_let_in(self, frames: int) -> bool:
        """Whoever sends far too much is cut off: to answer it costs more than to end it."""
        try:
            self._rate_limits.frames(self.wiring.held.id, frames)
        except BrokerError as error:
            self.fail(error)
            return False
        return True

    async def wait_for_room(self) -> None:
        await self._publisher.wait_for_room()

    def lost(self) -> None:
        """The transport is gone; if nothing was said before, the connection may be resumed."""
        if not self.over:
            self._end()
        delay_ms = self._options.remain_present_for_ms
        self.wiring.broker.epoch.connections.lost(self.wiring.held, delay_ms)

    def disconnect(self, error: BrokerError) -> None:
        """End the transport; the client may come back to the connection."""
        self._say_and_end({"action": Action.DISCONNECTED, "error": error.info})

    def fail(self, error: BrokerError) -> None:
        """End the connection as the client sees it (RTN15i)."""
        self.wiring.refused(error)
        self._say_and_end({"action": Action.ERROR, "error": error.info})

    def revoked(self, revocation: TokensRevoked) -> None:
        """Tokens were revoked: if this connection's is among them, it ends when that applies, and
        the client is told in time (RSA17)."""
        if self.over or not matches(revocation, self.wiring.principal):
            return
        error = Unauthorized("the token has been revoked", TOKEN_REVOKED)
        delay_ms = revocation.applies_at - self.wiring.broker.time_ms()
        if delay_ms <= 0:
            self.disconnect(error)
            return
        self.wiring.send({"action": Action.AUTH})
        self._later(delay_ms, lambda: self.disconnect(error))

    def _handle(self, frame: Frame) -> None:
        try:
            pm = decode(frame)
        except BrokerError as error:
            self._malformed(frame, error)
            return
        handler = _HANDLERS.get(pm.action)
        if handler is not None:
            handler(self, pm)

    def _malformed(self, frame: Frame, error: BrokerError) -> None:
        """As narrow as can be: the message, else its channel, else the connection."""
        whom = addressed(frame)
        if whom.msg_serial is not None:
            self._publisher.refuse(whom.msg_serial, error)
        elif whom.channel is not None:
            self.wiring.send({"action": Action.ERROR, "channel": whom.channel, "error": error.info})
        else:
            self.fail(error)

    def _message(self, pm: Inbound) -> None:
        self._publisher.message(pm, self._channels.modes(pm.channel))

    def _presence(self, pm: Inbound) -> None:
        self._publisher.presence(pm, self._channels.presence_modes(pm.channel))

    def _annotation(self, pm: Inbound) -> None:
        self._publisher.annotation(pm, self._channels.modes(pm.channel))

    def _attach(self, pm: Inbound) -> None:
        self._channels.attach(pm)

    def _detach(self, pm: Inbound) -> None:
        self._channels.detach(pm)

    def _sync(self, pm: Inbound) -> None:
        self._channels.sync(pm)

    def _ping(self, pm: Inbound) -> None:
        """RTN13: a ping carries an id, and its answer the same."""
        if pm.id is not None:
            self.wiring.send({"action": Action.HEARTBEAT, "id": pm.id})

    def _close(self, pm: Inbound) -> None:
        self._publisher.flush()
        self._end()
        self.wiring.broker.epoch.connections.closed(self.wiring.held)
        self.wiring.send({"action": Action.CLOSED})
        self._scope.cancel()

    def _disconnected(self, pm: Inbound) -> None:
        self._scope.cancel()

    def _authenticate(self, pm: Inbound) -> None:
        """RTC8: other credentials for the same connection."""
        token = (pm.auth or {}).get("accessToken")
        try:
            self.wiring.principal = self._renewed(token)
        except BrokerError as error:
            self.fail(error)
            return
        self._connected(None)
        self._watch_token()
        self._channels.judge_again()

    def _renewed(self, token: Any) -> Principal:
        if isinstance(token, dict):  # a TokenDetails (reference, appendix B)
            token = token.get("token")
        if not isinstance(token, str):
            raise BadRequest("AUTH carries no token")
        bound = self.wiring.held.client_id
        given = self.wiring.broker.authenticate(token=token)
        if given.app_id != self.wiring.app:
            raise Unauthorized("the token is of another app")
        if bound in (None, WILDCARD) and given.client_id in (None, bound):
            return given
        if given.client_id not in (bound, WILDCARD):
            raise Unauthorized("the token is of another clientId", INCOMPATIBLE_CLIENT_ID)
        return self.wiring.broker.authenticate(token=token, client_id=bound)

    def _connected(self, error: BrokerError | None) -> None:
        wiring, settings = self.wiring, self.wiring.broker.settings
        details: dict[str, Any] = {
            "connectionKey": wiring.held.key,
            "maxMessageSize": settings.message_bytes_max,
            "maxFrameSize": self._options.frame_bytes_max,
            "connectionStateTtl": settings.connection_state_ttl_ms,
            "maxIdleInterval": self._options.idle_ms,
            "serverId": wiring.broker.series,
            "siteCode": SITE,
            "objectsGCGracePeriod": GC_GRACE_MS,
        }
        if wiring.principal.client_id is not None:
            details["clientId"] = wiring.principal.client_id
        message: dict[str, Any] = {
            "action": Action.CONNECTED,
            "connectionId": wiring.held.id,
            "connectionKey": wiring.held.key,
            "connectionDetails": details,
        }
        if error is not None:
            message["error"] = error.info
        wiring.send(message)

    def _watch_token(self) -> None:
        """Its end, and a prompt before it where there is time for one (RSA4b1, RTN22)."""
        for timer in self._token_timers:
            timer.cancel()
        self._token_timers = []
        principal, now_ms = self.wiring.principal, self.wiring.broker.time_ms()
        if principal.revoked_from_ms is not None:
            revoked = Unauthorized("the token has been revoked", TOKEN_REVOKED)
            left_ms = max(principal.revoked_from_ms - now_ms, 0)
            self._later(left_ms, lambda: self.disconnect(revoked))
        if principal.expires_ms is None:
            return
        left_ms = principal.expires_ms - self.wiring.broker.clock()
        expired = Unauthorized("the token has expired", TOKEN_EXPIRED)
        self._later(max(left_ms, 0), lambda: self.disconnect(expired))
        if left_ms > PROMPT_BEFORE_MS:
            prompt = {"action": Action.AUTH}
            self._later(left_ms - PROMPT_BEFORE_MS, lambda: self.wiring.send(prompt))

    def _later(self, delay_ms: float, action: Callable[[], None]) -> None:
        self._token_timers.append(self._timers.schedule(delay_ms, action))

    def _check_idle(self) -> None:
        """RTN23a: never silent for longer than the client was told."""
        silent_ms = (trio.current_time() - self.wiring.outbox.sent_at) * 1000
        if silent_ms >= self._options.idle_ms - 1:
            self.wiring.send({"action": Action.HEARTBEAT})
            silent_ms = 0
        self._heartbeat = self._timers.schedule(self._options.idle_ms - silent_ms, self._check_idle)

    def _superseded(self) -> None:
        error = BrokerError("the connection was resumed on another transport", SUPERSEDED, 410)
        self.disconnect(error)

    def _say_and_end(self, last: dict[str, Any]) -> None:
        if self.over:
            return
        self._end()
        self.wiring.send(last)
        self._scope.cancel()

    def _end(self) -> None:
        self.over = True
        self._heartbeat.cancel()
        for timer in self._token_timers:
            timer.cancel()
        self._channels.drop_all()


_HANDLERS: dict[int, Callable[[Session, Inbound], None]] = {
    Action.HEARTBEAT: Session._ping,
    Action.DISCONNECT: Session._disconnected,
    Action.CLOSE: Session._close,
    Action.ATTACH: Session._attach,
    Action.DETACH: Session._detach,
    Action.PRESENCE: Session._presence,
    Action.MESSAGE: Session._message,
    Action.SYNC: Session._sync,
    Action.AUTH: Session._authenticate,
    Action.ANNOTATION: Session._annotation,
}
