"""Pushers as devices of the push model: found, made, shown, removed.

A pusher is identified by its user, app_id and pushkey, and its device by a keyed digest of the
three, from which they cannot be guessed without a key of this server. All that a user says of a
pusher is personal, so it is kept in the sealed recipient; transports ignore what they do not know.
"""

import json
from typing import Any, NamedTuple

from api.matrix.caller import User
from api.matrix.reading import Address, Pusher
from broker import Broker
from broker.matrix.rules import STATUSES, MatrixRules, Status
from broker.push.events import MATRIX, MATRIX_CHANNELS, Device
from broker.push.registration import OnTaken
from broker.push.service import DeviceSpec

TRANSPORT = "matrix"
PLATFORM = FORM_FACTOR = "other"
PUSHERS_MAX = 100
TOPICS_MAX = 1_024  # of channels that there were, too


class Registration(NamedTuple):
    device: Device
    recipient: dict[str, Any]

    @property
    def shown(self) -> dict[str, Any]:
        """As a client reads it: never with what it is encrypted with."""
        data = {**self.recipient["data"], "url": self.recipient["url"]}
        return {
            "pushkey": self.recipient["pushkey"],
            "app_id": self.recipient["appId"],
            **self.recipient["pusher"],
            "data": data,
        }


class Registrations:
    """The pushers of every app of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._push = broker.push

    async def of_user(self, user: User) -> list[Registration]:
        """A user's pushers, the oldest first."""
        page = await self._push.lists.devices(
            user.app, client=user.id, api=MATRIX, limit=PUSHERS_MAX
        )
        found = ((one, self._push.recipient(user.app, one)) for one in page.items)
        there = [Registration(*one) for one in found if one[1]]  # else it is just being removed
        return sorted(there, key=lambda one: (one.device.created_ms, one.device.id))

    async def with_pushkey(self, user: User, pushkey: str) -> Registration | None:
        """Of several with this pushkey, for different app_ids, the one that was changed last."""
        known = [one for one in await self.of_user(user) if one.recipient["pushkey"] == pushkey]
        return max(known, key=lambda one: one.device.modified_ms, default=None)

    async def put(self, user: User, pusher: Pusher, rules: MatrixRules) -> None:
        """Make a pusher, or replace it; it keeps its channels. Raises TooManyDevices."""
        spec = DeviceSpec(
            id=self._id(user, pusher.address),
            platform=PLATFORM,
            form_factor=FORM_FACTOR,
            recipient=_recipient(pusher),
            client_id=user.id,
            api=MATRIX,
            address=_joined("address", *pusher.address),
            topics=rules.enabled_at_first,
            space=MATRIX_CHANNELS,
        )
        await self._push.register(
            user.app,
            spec,
            on_taken=OnTaken.SHARE if pusher.is_shared else OnTaken.REPLACE,
            limit=PUSHERS_MAX,
            encryption=pusher.encryption,
        )

    async def remove(self, user: User, address: Address) -> None:
        """Whether it is there or not."""
        await self._push.remove(user.app, device=self._id(user, address), api=MATRIX)

    async def channels(
        self, user: User, found: Registration, rules: MatrixRules
    ) -> dict[str, Status]:
        """Every channel that there is, as the pusher has it."""
        topics = await self._push.topics.page(
            user.app, found.device.id, MATRIX_CHANNELS, limit=TOPICS_MAX
        )
        is_on = {topic.name: topic.is_on for topic in topics}
        return {id_: _status(is_on.get(id_)) for id_ in rules.channels}

    async def set_channels(
        self, user: User, found: Registration, wanted: dict[str, Status]
    ) -> None:
        """Those that are named; the others stay. Raises NotFound if it was removed meanwhile."""
        named = {
            status: [id_ for id_, one in wanted.items() if one == status] for status in STATUSES
        }
        await self._push.topics.change(
            user.app,
            found.device.id,
            MATRIX_CHANNELS,
            on=named["enabled"],
            off=named["disabled"],
            gone=named["not_set"],
            limit=TOPICS_MAX,
        )

    def _id(self, user: User, address: Address) -> str:
        return self._push.derived_id(user.app, _joined("pusher", user.id, *address))


def _recipient(pusher: Pusher) -> dict[str, Any]:
    recipient: dict[str, Any] = {
        "transportType": TRANSPORT,
        "url": pusher.url,
        "appId": pusher.address.app_id,
        "pushkey": pusher.address.pushkey,
        "data": pusher.data,
        "pusher": pusher.shown,
    }
    if pusher.encryption is not None:
        recipient["encryption"] = {"keyIdentifier": pusher.encryption.key_identifier}
    return recipient


def _joined(*parts: str) -> str:
    """One text, whatever the parts hold."""
    return json.dumps([TRANSPORT, *parts], ensure_ascii=False)


def _status(is_on: bool | None) -> Status:
    if is_on is None:
        return "not_set"
    return "enabled" if is_on else "disabled"
