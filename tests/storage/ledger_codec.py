"""The ledger's commands, replies and refusals as bytes, for a log whose writer is elsewhere."""

from dataclasses import astuple
from typing import Any

import msgpack

from tests.storage.ledger import Post, Refused

_ERRORS = {kind.__name__: kind for kind in (Refused, RuntimeError, ValueError)}


class LedgerCodec:
    def command(self, command: Post) -> bytes:
        if not isinstance(command, Post):
            raise KeyError(type(command))
        return bytes(msgpack.packb(astuple(command)))

    def read_command(self, data: bytes) -> Post:
        return Post(*msgpack.unpackb(data))

    def reply(self, command: Post, reply: Any) -> bytes:
        return bytes(msgpack.packb(reply))

    def read_reply(self, command: Post, data: bytes) -> Any:
        return msgpack.unpackb(data)

    def error(self, error: Exception) -> bytes:
        return bytes(msgpack.packb((type(error).__name__, str(error))))

    def read_error(self, data: bytes) -> Exception:
        kind, text = msgpack.unpackb(data)
        return _ERRORS[kind](text)
