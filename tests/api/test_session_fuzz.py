"""Whatever a client says: no error of ours, every answer well-formed, and the next client unharmed.

Hypothesis runs on a thread and speaks through the event loop; a failing example and its seed are
printed. What the server logs as an error fails the test (conftest.py).
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import broker
from api.realtime.framing import Frame
from api.realtime.protocol import Action
from tests.api.conversation import STUCK_S, Client, Message, Talk, talking
from tests.api.protocol_messages import EXAMPLES, frame_of, histories, mutated
from tests.broker.interactions.editing import Editing

TOLD = {
    Action.HEARTBEAT,
    Action.ACK,
    Action.NACK,
    Action.CONNECTED,
    Action.DISCONNECTED,
    Action.CLOSED,
    Action.ERROR,
    Action.ATTACHED,
    Action.DETACHED,
    Action.PRESENCE,
    Action.MESSAGE,
    Action.SYNC,
    Action.AUTH,
    Action.ANNOTATION,
}


async def examples(strategy: Any, check: Callable[..., Awaitable[None]]) -> None:
    """Run `check` on this event loop for every example."""

    @EXAMPLES
    @given(strategy)
    def run(example: Any) -> None:
        trio.from_thread.run(check, example)

    await trio.to_thread.run_sync(run)


def well_formed(message: Message) -> None:
    assert message["action"] in TOLD, message
    if "error" in message:
        error = message["error"]
        assert error.keys() == {"message", "code", "statusCode", "href"}
        assert error["statusCode"] < 500, error
        assert error["code"] < 50_000 or error["code"] >= 80_000, error


async def answered(talk: Talk, client: Client) -> None:
    """Everything that was sent is through, and what came back makes sense."""
    await talk.settled()
    for message in client.outbox.messages:
        well_formed(message)
    assert client.outbox.binaries == {client.binary}
    with trio.fail_after(STUCK_S):
        while not client.session.over and client.session._publisher._answers:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("binary", [False, True])
async def test_histories_of_odd_messages(tmp_path: Path, binary: bool) -> None:
    async with broker.open(tmp_path / "data") as b, talking(b) as talk:
        await Editing(b, "c").prepare(namespace="c")

        async def check(history: list[Message]) -> None:
            client = await talk.connect("me", binary=binary)
            await client.attach("c")
            await client.attach("d")
            frames = [frame_of(message, binary=binary) for message in history]
            client.session.receive(frames[::2])
            client.session.receive(frames[1::2])
            await answered(talk, client)
            client.vanishes()

        await examples(histories(), check)
        witness = await talk.connect()
        await witness.attach("c")
        witness.publishes("c", "still here")
        while (message := await witness.next())["action"] != Action.MESSAGE:
            assert message["action"] == Action.SYNC
        assert message["messages"][0]["name"] == "still here"


damage = st.tuples(histories(), st.booleans(), st.integers(0, 9), st.integers(0, 9_999))


async def test_damaged_frames(tmp_path: Path) -> None:
    """Of either type on either connection."""
    async with broker.open(tmp_path / "data") as b, talking(b) as talk:

        async def check(example: tuple[list[Message], bool, int, int]) -> None:
            history, binary, cut, flip = example
            client = await talk.connect("me", binary=flip % 2 == 0)
            for message in history:
                frame = mutated(frame_of(message, binary=binary), cut, flip)
                client.session.receive([frame, Frame(not frame.binary, frame.data)])
            await answered(talk, client)
            client.vanishes()

        await examples(damage, check)
