"""Commands, replies and refusals arrive in another process as what they were."""

import logging

import pytest

from broker.administration import CreateKey
from broker.auth.revocations import RevokeTokens
from broker.channels.presence import Change, ChangePresence, LeaveMembers, PresenceAction
from broker.command_codec import REPLIES, CommandCodec
from broker.domain import broker_domain
from broker.errors import BadRequest, BrokerError, NotFound
from broker.events import TokensRevoked
from broker.live.connection_log import StartBroker
from broker.messages.message import Message, PresenceMessage
from broker.messages.publishing import Publish
from broker.push.events import Device
from broker.push.registration import AddressTaken, RegisterDevice, Registered, TooManyDevices

CODEC = CommandCodec(broker_domain().decide)
DEVICE = Device(id="d", platform="ios", form_factor="phone", transport="apns", recipient=b"sealed")
MESSAGE = Message(id="1:0", data=b"\x00\xff", extras={"headers": {"n": 1}})
MEMBER = PresenceMessage(id="1:0:0", client_id="me", connection_id="conn")


@pytest.mark.parametrize(
    "command",
    [
        Publish(
            "a",
            "c",
            (Message(id="1:0", data=b"\x00\xff", extras={"headers": {"n": 1}}),),
            keyed=True,
        ),
        ChangePresence(
            "a",
            "c",
            "conn",
            (Change(PresenceAction.ENTER, MEMBER),),
        ),
        CreateKey("a", "k", "secret", "{}"),
        RegisterDevice("a", DEVICE),
        StartBroker(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command(command: object) -> None:
    again = CODEC.read_command(CODEC.command(command))
    assert again == command
    assert type(again) is type(command)


def test_every_command_has_a_name_of_its_own() -> None:
    kinds = list(broker_domain().decide)
    assert len({kind.__name__ for kind in kinds}) == len(kinds)
    assert REPLIES.keys() <= set(kinds)


@pytest.mark.parametrize("given", [b"", b"Nothing\0\x80", b"Publish\0\xc1"])
def test_what_is_no_command_is_refused(given: bytes) -> None:
    with pytest.raises((KeyError, ValueError)):
        CODEC.read_command(given)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (StartBroker(), 7),
        (LeaveMembers("a", "conn", "base"), True),
        (RegisterDevice("a", DEVICE), Registered(DEVICE, ("old",))),
        (RevokeTokens("a", "k", ()), [TokensRevoked("k", "clientId", "me", 1, 2)]),
    ],
)
def test_a_reply(command: object, reply: object) -> None:
    assert CODEC.read_reply(command, CODEC.reply(command, reply)) == reply


@pytest.mark.parametrize(
    "error",
    [
        BrokerError("b", 1, 2),
        BadRequest("no", 40003, 400),
        NotFound("nowhere"),
        AddressTaken("phone"),
        TooManyDevices(7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal(error: BrokerError) -> None:
    again = CODEC.read_error(CODEC.error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_bug_is_logged_where_it_happened(caplog: pytest.LogCaptureFixture) -> None:
    again = CODEC.read_error(CODEC.error(KeyError("a detail")))
    assert type(again) is RuntimeError
    assert "a detail" not in str(again)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    caplog.clear()
