"""Commands, replies and refusals as bytes, for a log whose writer is in another process.

A command goes by the name of its type, which must be one that the domain decides. A refusal comes
back as what it was: of its type, with everything that it carries. What is no refusal but a bug
comes back as a RuntimeError, and is logged where it happened. Never stored: both ends are of one
version.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from broker.auth.revocations import RevokeTokens
from broker.errors import BrokerError
from broker.events import TokensRevoked
from broker.push.registration import BindUser, PatchDevice, RegisterDevice, Registered
from broker.push.removal import Removed, RemoveDevices

# What is replied to a command, where that is neither a number nor a truth.
REPLIES: dict[type, Any] = {
    RevokeTokens: list[TokensRevoked],
    RegisterDevice: Registered,
    PatchDevice: Registered,
    BindUser: Registered,
    RemoveDevices: Removed,
}
_PLAIN = bool | int
logger = logging.getLogger("tidelog.broker")


class CommandCodec:
    """`commands`: the types of all commands that there are."""

    def __init__(self, commands: Iterable[type]) -> None:
        named = {kind.__name__: kind for kind in commands}
        self._encode = msgspec.msgpack.Encoder().encode
        self._names = {kind: name.encode() + b"\0" for name, kind in named.items()}
        self._commands: dict[bytes, Callable[[bytes], Any]] = {
            name.encode(): msgspec.msgpack.Decoder(kind).decode for name, kind in named.items()
        }
        self._replies = {kind: msgspec.msgpack.Decoder(of).decode for kind, of in REPLIES.items()}
        self._plain = msgspec.msgpack.Decoder(_PLAIN).decode
        self._refusals = {kind.__name__: kind for kind in _subclasses(BrokerError)}
        assert len(self._commands) == len(self._names), "two commands have one name"

    def command(self, command: Any) -> bytes:
        return self._names[type(command)] + self._encode(command)

    def read_command(self, data: bytes) -> Any:
        name, _, body = data.partition(b"\0")
        return self._commands[name](body)

    def reply(self, command: Any, reply: Any) -> bytes:
        return self._encode(reply)

    def read_reply(self, command: Any, data: bytes) -> Any:
        return self._replies.get(type(command), self._plain)(data)

    def error(self, error: Exception) -> bytes:
        if not isinstance(error, BrokerError):
            logger.error("a command failed", exc_info=error)
            return self._encode(("", {"message": f"{type(error).__name__} in another process"}))
        return self._encode((type(error).__name__, vars(error)))

    def read_error(self, data: bytes) -> Exception:
        name, carried = msgspec.msgpack.decode(data)
        kind = self._refusals.get(name)
        return RuntimeError(carried["message"]) if kind is None else _made(kind, carried)


def _made(kind: type[BrokerError], carried: Mapping[str, Any]) -> BrokerError:
    """Its own constructor makes the message of something else."""
    error = kind.__new__(kind, carried["message"])
    vars(error).update(carried)
    return error


def _subclasses(kind: type[BrokerError]) -> Iterator[type[BrokerError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _subclasses(one)
