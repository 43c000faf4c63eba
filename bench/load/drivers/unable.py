"""What a broker cannot do: its driver's `abilities` leave it out, and nobody is to ask for it."""

from bench.load.driver import Receive


class Unable:
    """The calls of a Connection that a driver may leave out."""

    async def open(self) -> None:
        """There is nothing to do before the first call."""

    async def history(self, channel: str, limit: int) -> list[bytes]:
        raise NotImplementedError

    async def enter(self, channel: str, client_id: str, body: bytes) -> None:
        raise NotImplementedError

    async def leave(self, channel: str, client_id: str, body: bytes) -> None:
        raise NotImplementedError

    async def watch(self, channel: str, receive: Receive) -> None:
        raise NotImplementedError

    async def members(self, channel: str) -> frozenset[str]:
        raise NotImplementedError

    async def pause(self, is_paused: bool) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError

    async def resume(self) -> None:
        raise NotImplementedError
