"""Pushers: set, listed, replaced, shared or taken over, deleted."""

from typing import Any

import pytest

from api.matrix.registrations import PUSHERS_MAX
from broker.push.events import MATRIX
from broker.push.registration import SHARED_MAX
from tests.api.matrix.asking import LIST, PUSHKEY, SET, Asking, asking
from tests.api.matrix.bodies import (
    APP_ID,
    GATEWAY,
    GEMATIK,
    MONTH,
    encrypted,
    encryption,
    pusher,
    without,
)
from tests.api.rest_server import RestServer, on_disk

DELETION = {"app_id": APP_ID, "pushkey": PUSHKEY, "kind": None}


async def recipients(server: RestServer) -> list[dict[str, Any]]:
    """What a transport is given of each device that there is."""
    push = server.broker.push
    page = await push.lists.devices(server.app, limit=1_000, api=MATRIX)
    return [push.recipient(server.app, device) for device in page.items]


async def test_a_pusher_is_listed_as_it_was_set(ann: Asking) -> None:
    assert await ann.fine(SET, pusher()) == {}
    assert await ann.pushers() == [pusher()]


async def test_a_user_without_pushers_has_none(ann: Asking, bob: Asking) -> None:
    await bob.fine(SET, pusher())
    assert await ann.fine(LIST) == {"pushers": []}


async def test_what_need_not_be_said_may_be_absent_or_null(ann: Asking) -> None:
    await ann.fine(SET, without(pusher("a"), "profile_tag"))
    await ann.fine(SET, pusher("b", profile_tag=None, append=None, encryption=None))
    assert [one["profile_tag"] for one in await ann.pushers()] == ["", ""]


async def test_the_transport_gets_the_address_and_what_the_client_wants_handed_on(
    server: RestServer, ann: Asking
) -> None:
    await ann.fine(SET, encrypted())
    (recipient,) = await recipients(server)
    assert without(recipient, "pusher") == {
        "transportType": "matrix",
        "url": GEMATIK,
        "appId": APP_ID,
        "pushkey": PUSHKEY,
        "data": {},
        "encryption": {"keyIdentifier": encryption()["key_identifier"]},
    }
    await ann.fine(SET, pusher())
    (recipient,) = await recipients(server)
    assert recipient["data"] == {"format": "event_id_only", "custom": {"n": [1, None]}}
    assert recipient["url"] == GATEWAY
    assert "encryption" not in recipient


async def test_encryption_is_never_shown(ann: Asking) -> None:
    await ann.fine(SET, encrypted())
    shown = await ann(LIST)
    assert shown.json()["pushers"] == [pusher(data={"url": GEMATIK})]
    given = encryption()
    for secret in ("encryption", given["iss"], given["key_identifier"]):
        assert secret not in shown.text


@pytest.mark.parametrize(
    "older",
    [
        {"method": "aes-hmac-sha2"},
        {"initial_key_period": MONTH},
        {"initial_shared_secret": encryption()["iss"]},
        {"initial_shared_secret": encryption()["iss"], "iss": encryption()["iss"]},
        {"iss": encryption()["iss"].upper()},
    ],
    ids=lambda older: "-".join(older),
)
async def test_encryption_in_older_words(
    server: RestServer, ann: Asking, older: dict[str, str]
) -> None:
    replaced = {
        "initial_key_period": "time_iss_created",
        "initial_shared_secret": "" if "iss" in older else "iss",
    }
    given = {**without(encryption(), *(replaced.get(name, "") for name in older)), **older}
    await ann.fine(SET, encrypted(given=given))
    (device,) = (await server.broker.push.lists.devices(server.app, limit=2, api=MATRIX)).items
    months = server.broker.push._sealer.months
    assert months.has(server.app, device.id, encryption()["key_identifier"])


async def test_registering_again_replaces_all_of_it(ann: Asking) -> None:
    await ann.fine(SET, encrypted())
    again = pusher(lang="de", data={"url": GATEWAY}, profile_tag="")
    await ann.fine(SET, again)
    assert await ann.pushers() == [again]


async def test_a_pushkey_of_several_app_ids_is_several_pushers(ann: Asking) -> None:
    for app_id in ("one", "two"):
        await ann.fine(SET, pusher(app_id=app_id))
    assert [one["app_id"] for one in await ann.pushers()] == ["one", "two"]


async def test_another_user_takes_a_pusher_over(ann: Asking, bob: Asking) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(SET, pusher("other"))
    await ann.fine(SET, pusher(app_id="another"))
    await bob.fine(SET, pusher(append=False))
    kept = {(one["app_id"], one["pushkey"]) for one in await ann.pushers()}
    assert kept == {(APP_ID, "other"), ("another", PUSHKEY)}
    assert await bob.pushers() == [pusher()]


async def test_append_leaves_the_pushers_of_others(ann: Asking, bob: Asking) -> None:
    await ann.fine(SET, pusher())
    await bob.fine(SET, pusher(append=True))
    assert await ann.pushers() == await bob.pushers() == [pusher()]
    await ann.fine(SET, pusher(lang="fr"))  # append is false unless it is said
    assert await bob.pushers() == []


async def test_deleting(ann: Asking, bob: Asking, server: RestServer) -> None:
    await ann.fine(SET, pusher())
    await bob.fine(SET, pusher(append=True))
    assert await ann.fine(SET, DELETION) == {}
    assert await ann.pushers() == []
    assert await bob.pushers() == [pusher()]


@pytest.mark.parametrize("more", [{}, {"lang": 7, "data": "nonsense", "append": "x"}])
async def test_deleting_what_is_not_there_is_fine(ann: Asking, more: dict[str, Any]) -> None:
    """Nothing but app_id and pushkey is looked at."""
    assert await ann.fine(SET, {**DELETION, **more}) == {}


async def test_the_longest_pushkey_and_app_id(ann: Asking) -> None:
    longest = pusher("é" * 256, app_id="é" * 64, device_display_name="é" * 256)
    await ann.fine(SET, longest)
    assert await ann.pushers() == [longest]
    assert len(await ann.statuses("é" * 256)) == 3


async def test_a_user_may_have_so_many_pushers(ann: Asking, bob: Asking) -> None:
    for number in range(PUSHERS_MAX):
        await ann.fine(SET, pusher(f"key {number}"))
    reply = await ann(SET, pusher("one more"))
    assert (reply.status_code, reply.json()["errcode"]) == (403, "M_FORBIDDEN")
    assert len(await ann.pushers()) == PUSHERS_MAX
    await ann.fine(SET, pusher("key 7", lang="de"))
    await bob.fine(SET, pusher("one more"))
    await ann.fine(SET, {**DELETION, "pushkey": "key 7"})
    await ann.fine(SET, pusher("one more"))


async def test_so_many_users_may_share_a_pushkey(ann: Asking, server: RestServer) -> None:
    for number in range(SHARED_MAX):
        await asking(server, f"user {number}", ann.client).fine(SET, pusher(append=True))
    reply = await asking(server, "one more", ann.client)(SET, pusher(append=True))
    assert (reply.status_code, reply.json()["errcode"]) == (403, "M_FORBIDDEN")
    await ann.fine(SET, pusher())
    await asking(server, "one more", ann.client).fine(SET, pusher(append=True))


async def test_pushers_are_of_an_app(ann: Asking, server: RestServer) -> None:
    await ann.fine(SET, pusher())
    other = await server.broker.apps.create("other")
    key = server.broker.apps.keys(other.id)[0]
    stranger = Asking(ann.client, server.token(key=key, **{"x-ably-clientId": "@ann:example.org"}))
    assert await stranger.pushers() == []
    await stranger.fine(SET, pusher(lang="fr"))
    assert await ann.pushers() == [pusher()]


async def test_nothing_personal_is_readable_on_disk_or_listed_by_others(
    ann: Asking, server: RestServer
) -> None:
    mine = encrypted("my-own-pushkey", device_display_name="Ann's telephone")
    await ann.fine(SET, mine)
    listed = await server.client.get("/push/deviceRegistrations")
    assert listed.json() == []
    found = on_disk(server)
    for text in ("my-own-pushkey", "Ann's telephone", GEMATIK, mine["encryption"]["iss"]):
        assert text.encode() not in found
    assert server.app.encode() in found
