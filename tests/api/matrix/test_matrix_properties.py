"""Whatever is asked: an answer in the protocol's shape, never a 5xx, and what was there is there as
before or as asked, whole. Histories of two users are held against a dict."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from api.matrix.reading import REQUIRED
from tests.api.matrix.asking import EVERY_ALIAS, PUSHKEY, READ, SET, WRITE, Asking, refusal
from tests.api.matrix.bodies import (
    APP_ID,
    AT_FIRST,
    CHANNELS,
    GATEWAY,
    GEMATIK,
    channels,
    encryption,
    pusher,
)
from tests.api.rest_server import JSON, RestServer
from tests.api.test_rest_fuzz import encoded, examples, mutated, text, values

FIELDS = (*REQUIRED, "profile_tag", "append", "encryption", "unknown")
keys = st.sampled_from([PUSHKEY, "other", "\U0001f600/"])
some_data = (
    st.fixed_dictionaries(
        {"url": st.sampled_from([GATEWAY, GEMATIK, "https://x/"]) | text | values},
        optional={"format": st.just("event_id_only") | values, "more": values},
    )
    | values
)
some_encryption = (
    st.dictionaries(
        st.sampled_from([*encryption(), "initial_key_period", "initial_shared_secret"]),
        text | values,
        max_size=3,
    ).map(lambda changed: {**encryption(), **changed})
    | values
)
_of_field: dict[str, st.SearchStrategy[Any]] = {
    "pushkey": keys | text,
    "data": some_data,
    "encryption": some_encryption | st.just(encryption()),
    "kind": st.sampled_from(["http", None, "email"]),
    "append": st.booleans(),
}
changes = st.lists(st.sampled_from(FIELDS), max_size=2).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: _of_field.get(name, text) | _of_field.get(name, text) | values for name in names}
    )
)
gone = st.just("") | st.just("") | st.sampled_from(FIELDS)
likely = st.builds(
    lambda changed, name: {one: v for one, v in {**pusher(), **changed}.items() if one != name},
    changes,
    gone,
)
pushers = likely | likely | likely | likely | values
statuses = st.sampled_from(["enabled", "disabled", "not_set"])
listed = (
    st.fixed_dictionaries(
        {"id": st.sampled_from([*CHANNELS, "nothing"]) | values},
        optional={"status": statuses | values, "value": statuses, "name": st.just("task")},
    )
    | values
)
sensible = st.dictionaries(st.sampled_from([*CHANNELS]), statuses)
channel_bodies = (
    st.fixed_dictionaries({"channels": st.lists(listed, max_size=3)})
    | st.fixed_dictionaries({"channels": st.lists(listed, max_size=1) | values})
    | sensible.map(lambda found: channels(**found))
    | values
)
setting = st.tuples(st.just(SET), pushers)
requests = setting | setting | st.tuples(st.just(WRITE), channel_bodies)
damages = st.none() | st.none() | st.none() | st.tuples(st.integers(0, 5), st.integers(0, 1 << 16))


@dataclass
class Seen:
    """All that a user can see."""

    pushers: list[dict[str, Any]]
    statuses: dict[str, dict[str, str]] = field(default_factory=dict)


async def seen(user: Asking) -> Seen:
    found = Seen(await user.pushers())
    for one in found.pushers:
        found.statuses[one["pushkey"]] = await user.statuses_at(
            "GET /push/v1/channels/{pushkey}", one["pushkey"]
        )
    return found


async def test_any_body(ann: Asking) -> None:
    await ann.fine(SET, pusher("other"))

    async def check(example: tuple[tuple[str, Any], tuple[int, int] | None]) -> None:
        (route, body), damage = example
        await ann.fine(SET, pusher(PUSHKEY))
        await ann.fine(WRITE, channels(**AT_FIRST))
        before = await seen(ann)
        raw = encoded(body, JSON)
        reply = await ann(route, mutated(raw, *damage) if damage else raw)
        assert reply.status_code in (200, 400, 404), reply.text
        after = await seen(ann)
        if reply.status_code == 200:
            assert reply.json() == {}
            assert damage or is_as_asked(before, after, route, body)
        else:
            refusal(reply)
            assert after == before

    await examples(st.tuples(requests, damages), check)


def is_as_asked(before: Seen, after: Seen, route: str, body: dict[str, Any]) -> bool:
    if route == WRITE:
        wanted = {one.get("id", one.get("name")): one for one in body["channels"]}
        given = {id_: one.get("status", one.get("value")) for id_, one in wanted.items()}
        expected = {**before.statuses[PUSHKEY], **given}
        return after.pushers == before.pushers and after.statuses[PUSHKEY] == expected
    others = [one for one in before.pushers if not _is_about(one, body)]
    here = [one for one in after.pushers if _is_about(one, body)]
    is_kept = [one for one in after.pushers if not _is_about(one, body)] == others
    if body["kind"] is None:
        return is_kept and here == []
    shown = {name: body[name] for name in REQUIRED}
    return is_kept and here == [{**shown, "profile_tag": body.get("profile_tag") or ""}]


def _is_about(one: dict[str, Any], body: dict[str, Any]) -> bool:
    return (one["app_id"], one["pushkey"]) == (body["app_id"], body["pushkey"])


async def test_any_path(ann: Asking) -> None:
    """With segments of all kinds behind, and between, those that are there."""
    parts = (
        st.sampled_from(["", "/", "//", "v1", "set", "%", "%00", "%ff", "..", "channels"]) | text
    )
    paths = st.tuples(st.sampled_from(EVERY_ALIAS), st.lists(parts, max_size=3))

    async def check(example: tuple[tuple[str, list[str]], str]) -> None:
        (alias, more), method = example
        path = "/".join([alias.split(" ")[1].replace("{pushkey}", "x"), *more])
        raw = path.encode("utf-8", "replace").decode("latin-1")
        target = "".join(one if "!" <= one <= "~" else f"%{ord(one):02X}" for one in raw)
        reply = await ann(f"{method} {target.replace('?', '%3F').replace('#', '%23')}", b"{}")
        assert reply.status_code < 500, reply.text
        if reply.status_code >= 400:
            refusal(reply)

    methods = st.sampled_from(["GET", "POST", "PUT", "DELETE"])
    await examples(st.tuples(paths, methods), check)


@dataclass
class Model:
    """What there should be: by user, app_id and pushkey, the language and the channels."""

    of: dict[tuple[str, str, str], tuple[str, dict[str, str]]] = field(default_factory=dict)

    def set(self, user: str, app_id: str, pushkey: str, lang: str, append: bool) -> None:
        if not append:
            taken = [one for one in self.of if one[1:] == (app_id, pushkey) and one[0] != user]
            for one in taken:
                del self.of[one]
        _, kept = self.of.get((user, app_id, pushkey), ("", AT_FIRST))
        self.of[user, app_id, pushkey] = (lang, dict(kept))

    def seen(self, user: str) -> dict[tuple[str, str], str]:
        return {key[1:]: lang for key, (lang, _) in self.of.items() if key[0] == user}


APP_IDS, USERS = (APP_ID, "another"), ("ann", "bob")
sets = st.tuples(
    st.just("set"), st.sampled_from(APP_IDS), keys, st.sampled_from(["de", "en"]), st.booleans()
)
deletions = st.tuples(st.just("delete"), st.sampled_from(APP_IDS), keys)
enablings = st.tuples(
    st.just("channels"), keys, st.dictionaries(st.sampled_from([*CHANNELS]), statuses)
)
histories = st.lists(
    st.tuples(st.sampled_from(USERS), sets | sets | deletions | enablings), max_size=12
)


async def test_histories_of_two_users(server: RestServer, ann: Asking, bob: Asking) -> None:
    users = {"ann": ann, "bob": bob}

    async def check(history: list[tuple[str, tuple[Any, ...]]]) -> None:
        model = Model()
        for user in USERS:
            await server.broker.push.remove(server.app, client=f"@{user}:example.org", api="matrix")
        last: dict[tuple[str, str], str] = {}
        for name, step in history:
            server.broker.now()  # no two changes are at the same millisecond
            await take(users[name], name, step, model, last)
        for name, user in users.items():
            listed = await user.pushers()
            found = {(one["app_id"], one["pushkey"]): one["lang"] for one in listed}
            assert found == model.seen(name)
            await compare_channels(user, name, model, last)

    await examples(histories, check)


async def take(
    user: Asking, name: str, step: tuple[Any, ...], model: Model, last: dict[tuple[str, str], str]
) -> None:
    """One step, for real and in the model. `last`: the app_id that a pushkey was last set with."""
    match step:
        case ("set", app_id, pushkey, lang, append):
            body = pusher(pushkey, app_id=app_id, lang=lang, append=append)
            assert await user.fine(SET, body) == {}
            model.set(name, app_id, pushkey, lang, append)
            last[name, pushkey] = app_id
        case ("delete", app_id, pushkey):
            await user.fine(SET, {"kind": None, "app_id": app_id, "pushkey": pushkey})
            model.of.pop((name, app_id, pushkey), None)
        case (_, pushkey, wanted):
            reply = await user(WRITE, channels(**wanted), pushkey=pushkey)
            known = chosen(model, name, pushkey, last)
            assert reply.status_code == (404 if known is None else 200)
            if known is not None:
                model.of[known][1].update(wanted)


def chosen(
    model: Model, name: str, pushkey: str, last: dict[tuple[str, str], str]
) -> tuple[str, str, str] | None:
    """Of several app_ids the one that was set last, of those that are left."""
    known = [key for key in model.of if (key[0], key[2]) == (name, pushkey)]
    newest = (name, last.get((name, pushkey), ""), pushkey)
    return newest if newest in known else next(iter(known), None)


async def compare_channels(
    user: Asking, name: str, model: Model, last: dict[tuple[str, str], str]
) -> None:
    for pushkey in {key[2] for key in model.of if key[0] == name}:
        known = chosen(model, name, pushkey, last)
        assert known is not None
        assert await user.statuses_at(READ, pushkey) == model.of[known][1]
