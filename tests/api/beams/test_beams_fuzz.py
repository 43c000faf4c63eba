"""Whatever a client sends to the Device API: never a 5xx, never an error of another shape, and
never half of what was asked: devices afterwards are as before, or as asked, whole.

Hypothesis runs on a thread and asks one server through the event loop; a failing example and its
seed are printed. What the server logs as an error fails the test (tests/api/conftest.py).
"""

import base64
import json
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from hypothesis import settings
from hypothesis import strategies as st

from tests.api.beams.beams_server import (
    ID,
    NOBODY,
    OTHER,
    PLATFORMS,
    BeamsServer,
    refused,
    registration,
    web_token,
)
from tests.api.test_rest_fuzz import EXAMPLES, examples, header_values, mutated

Devices = dict[str, tuple[str | None, dict[str, Any], dict[str, Any], list[str]]]
NUMBERS = range(3)

text = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
good_tokens = st.sampled_from(
    [registration(platform, number)["token"] for platform in PLATFORMS for number in NUMBERS]
)
tokens = good_tokens | st.builds(web_token, values) | values
names = st.sampled_from(["a", "b", "a=@,.;", "x" * 164, "x" * 165, "a b", ""]) | text
metadata = st.dictionaries(
    st.sampled_from(["sdkVersion", "iosVersion"]) | text, scalars, max_size=3
)
bodies = (
    st.fixed_dictionaries(
        {},
        optional={
            "token": tokens,
            "bundleIdentifier": st.just("org.example.app") | values,
            "metadata": metadata | values,
            "interests": st.lists(names, max_size=4) | values,
        },
    )
    | metadata
    | values
)
good_names = st.sampled_from(["a", "b", "c", "a=@,.;", "x" * 164])
good_metadata = st.dictionaries(
    st.sampled_from(["sdkVersion", "iosVersion"]), text | st.none(), max_size=2
)
some_names = st.lists(good_names, max_size=3)
good_bodies = st.builds(
    lambda number, told, interests: {
        "token": number,
        "bundleIdentifier": "org.example.app",
        "metadata": told,
        "interests": interests,
    },
    st.sampled_from(NUMBERS),
    good_metadata,
    some_names,
)
parameters = st.dictionaries(
    st.sampled_from(["limit", "cursor"]),
    st.sampled_from(["1", "100", "0", "101"]) | text,
    max_size=2,
)


class Call(NamedTuple):
    """`device`, and `token` in a body: a number stands for one that fits the platform."""

    method: str
    below: tuple[str, ...]
    device: int | str | None
    platform: str
    body: Any
    instance: str = ID
    kind: str = "application/json"
    user: str | None = "alice"
    params: Any = None


ROUTES = (
    ("POST", None, ()),
    ("POST", None, ()),
    ("GET", 0, ()),
    ("DELETE", 0, ()),
    ("PUT", 0, ("metadata",)),
    ("PUT", 0, ("token",)),
    ("PUT", 0, ("user",)),
    ("GET", 0, ("interests",)),
    ("PUT", 0, ("interests",)),
    ("POST", 0, ("interests", "a")),
    ("DELETE", 0, ("interests", "a")),
)
# What takes the place of a part that would do.
WILD: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
    "below": st.tuples(st.just("interests"), names) | st.lists(text, max_size=3).map(tuple),
    "device": st.sampled_from([f"fcm-{NOBODY}", "x", "", None]) | text,
    "platform": st.sampled_from([*PLATFORMS, "gcm", ""]) | text,
    "body": bodies,
    "instance": st.sampled_from([ID.upper(), OTHER, ""]) | text,
    "kind": st.sampled_from(["text/plain", "", "application/json;x"]),
    "user": st.sampled_from([None, "bob"]),
    "params": parameters,
}


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """One that would do, but for two of its parts at most."""
    method, device, below = draw(st.sampled_from(ROUTES))
    if below[:1] == ("interests",) and len(below) > 1:
        below = ("interests", draw(good_names))
    call = Call(
        method,
        below,
        device if device is None else draw(st.sampled_from(NUMBERS)),
        draw(st.sampled_from(["fcm"] if below == ("token",) else PLATFORMS)),
        draw(good_metadata if below == ("metadata",) else good_bodies),
    )
    wild = draw(st.sets(st.sampled_from(sorted(WILD)), max_size=2))
    return call._replace(**{name: draw(WILD[name]) for name in sorted(wild)})


def fitting(call: Call, there: Devices) -> Call:
    """With what its numbers stand for."""
    body, device = call.body, call.device
    if isinstance(body, dict) and type(body.get("token")) is int and call.platform in PLATFORMS:
        body = body | {"token": registration(call.platform, body["token"])["token"]}
    if isinstance(device, int):
        ours = [id_ for id_ in there if id_.startswith(f"{call.platform}-")]
        device = ours[device % len(ours)] if ours else f"fcm-{NOBODY}"
    return call._replace(body=body, device=device)


def recipient_of(platform: str, body: dict[str, Any]) -> dict[str, Any]:
    token = body["token"]
    if platform == "apns":
        found = {"transportType": "apns", "deviceToken": token.lower()}
        return found | {"bundleIdentifier": body["bundleIdentifier"]}
    if platform == "fcm":
        return {"transportType": "fcm", "registrationToken": token}
    given = json.loads(base64.b64decode(token))
    return {
        "transportType": "web",
        "targetUrl": given["endpoint"],
        "encryptionKey": {name: given["keys"][name] for name in ("p256dh", "auth")},
    }


def address_of(recipient: dict[str, Any]) -> Any:
    return [
        recipient.get(name)
        for name in ("transportType", "deviceToken", "registrationToken", "targetUrl")
    ]


def registered(before: Devices, call: Call, reply: httpx.Response) -> Devices:
    recipient = recipient_of(call.platform, call.body)
    given = (call.body.get("metadata") or {}).items()
    texts = {name: value for name, value in given if value is not None}
    id_ = reply.json()["id"]
    same = [one for one, state in before.items() if address_of(state[2]) == address_of(recipient)]
    assert same in ([], [id_])
    user, _, _, interests = before.get(id_, (None, {}, {}, []))
    return before | {id_: (user, texts, recipient, interests)}


def with_token(before: Devices, call: Call, id_: str) -> Devices:
    user, told, _, interests = before[id_]
    recipient = recipient_of("fcm", call.body)
    others = {one: state for one, state in before.items() if state[2] != recipient}
    return others | {id_: (user, told, recipient, interests)}


def without(before: Devices, call: Call, id_: str) -> Devices:
    """Nothing is of an instance that is not there; removing it succeeds, or mobile SDKs would try
    for ever."""
    if call.instance.lower() != ID:
        return before
    return {one: state for one, state in before.items() if one != id_}


def asked(before: Devices, call: Call, reply: httpx.Response) -> Devices:
    """What a call that succeeded must have made of the devices."""
    id_ = call.device
    if call.method in ("GET", "HEAD"):
        return before
    if not isinstance(id_, str):
        return registered(before, call, reply)
    if call.method == "DELETE" and not call.below:
        return without(before, call, id_)
    user, told, recipient, interests = before[id_]
    match call.method, *call.below:
        case "PUT", "metadata":
            told = {name: value for name, value in call.body.items() if value is not None}
        case "PUT", "token":
            return with_token(before, call, id_)
        case "PUT", "user":
            assert user in (None, call.user)
            user = call.user
        case "PUT", "interests":
            interests = sorted(set(call.body["interests"]))
        case "POST", "interests", name:
            interests = sorted({*interests, name})
        case "DELETE", "interests", name:
            interests = [one for one in interests if one != name]
        case _:
            raise AssertionError(f"{call} was answered {reply.status_code}")
    return before | {id_: (user, told, recipient, interests)}


def without_last_slash(call: Call) -> Call:
    """A slash too many at the end of a path is none, unless a name is missing behind it."""
    if call.below[-1:] == ("",):
        return call._replace(below=call.below[:-1])
    return call._replace(device=call.device or None)


def check_shape(reply: httpx.Response) -> None:
    assert reply.status_code < 500, reply.text
    if reply.status_code != 200 and reply.request.method != "HEAD":
        assert all(refused(reply))


async def send(beams: BeamsServer, call: Call) -> httpx.Response:
    below = () if call.device is None else (str(call.device), *call.below)
    segments = (quote(part, safe="") for part in (call.platform, *below))
    headers = {"Content-Type": call.kind}
    if call.user is not None:
        headers["Authorization"] = f"Bearer {beams.token(sub=call.user)}"
    return await beams.ask(
        call.method,
        *segments,
        instance=quote(call.instance, safe=""),
        content=json.dumps(call.body).encode(),
        headers=headers,
        params=call.params,
    )


async def three(beams: BeamsServer) -> Devices:
    """Devices of the server, of which there are one of each platform at least."""
    there: Devices = await beams.whole()
    lacking = [one for one in PLATFORMS if not any(id_.startswith(one) for id_ in there)]
    for platform in lacking:
        await beams.register(platform)
    return await beams.whole() if lacking else there


async def test_calls(beams: BeamsServer) -> None:
    async def check(example: Call) -> None:
        before = await three(beams)
        call = fitting(example, before)
        reply = await send(beams, call)
        check_shape(reply)
        expected = asked(before, without_last_slash(call), reply) if reply.is_success else before
        assert await beams.whole() == expected

    await examples(calls(), check, settings(EXAMPLES, max_examples=200))


async def test_damaged_bodies(beams: BeamsServer) -> None:
    """Where a change is accepted, it is one of the whole body."""
    id_ = await beams.register("fcm")

    async def check(example: tuple[Any, str, int, int]) -> None:
        body, below, cut, flip = example
        content = mutated(json.dumps(body).encode(), cut, flip)
        before = await beams.whole()
        reply = await beams.ask(
            "PUT", "fcm", id_, below, content=content, headers={"Content-Type": "application/json"}
        )
        check_shape(reply)
        expected = before
        if reply.is_success:
            call = Call("PUT", (below,), id_, "fcm", json.loads(content))
            expected = asked(before, call, reply)
        assert await beams.whole() == expected

    some = st.sampled_from(["metadata", "token", "interests"])
    tokens = st.builds(lambda token, names: {"token": token, "interests": names}, text, some_names)
    damage = st.tuples(tokens | good_metadata, some, st.integers(0, 3), st.integers(0, 1 << 16))
    await examples(damage, check)


async def test_authorizations(beams: BeamsServer) -> None:
    head = beams.token().partition(".")[0]
    claims = st.dictionaries(st.sampled_from(["iss", "sub", "exp", "nbf"]), values, max_size=3)

    async def check(example: tuple[str, dict[str, Any], bool]) -> None:
        said, changed, is_signed = example
        token = said
        if is_signed:
            try:
                token = beams.token(**changed)
            except (TypeError, ValueError):  # what our signer does not sign
                token = f"{head}.{said}.{said}"
        id_ = await beams.register("web")
        raw = [(b"Authorization", f"Bearer {token}".strip().encode("latin-1"))]
        reply = await beams.set_user(id_, headers=raw)
        check_shape(reply)
        is_set = reply.status_code == 200
        user = changed.get("sub", "alice") if is_set else None
        assert (await beams.described(id_))["userId"] == user
        assert is_signed or not is_set
        await beams.ask("DELETE", "web", id_)

    await examples(st.tuples(header_values, claims, st.booleans()), check)


async def test_query_parameters(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    await beams.ask("PUT", "fcm", id_, "interests", json={"interests": ["a", "b", "c"]})

    async def check(params: dict[str, str]) -> None:
        reply = await beams.ask("GET", "fcm", id_, "interests", params=params)
        check_shape(reply)
        if reply.status_code == 200:
            assert reply.json()["interests"][:1] == ["a"]

    await examples(parameters, check)
