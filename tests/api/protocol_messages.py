"""Protocol messages as no SDK would send them, and as one nearly would: Hypothesis strategies."""

import json
from typing import Any

import msgpack
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from api.realtime.framing import Frame
from api.realtime.protocol import Action

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
text = st.text(max_size=8)
integers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([2**63 - 1, 2**64 - 1, 2**70, -1, 0])
scalars = st.one_of(st.none(), st.booleans(), integers, st.floats(), text, st.binary(max_size=8))
extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
values = st.recursive(
    scalars | extensions,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(text | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
CHANNELS = [
    "c",
    "d",
    "[?rewind=2]c",
    "[?rewind=1s]d",
    "[?occupancy=metrics]c",
    "[meta]log",
    "[meta]occupancy",
    "[meta]connection.lifecycle",
    "[meta]channel.lifecycle",
    "[meta]nothing",
    "[filter=x]c",
    "[filter=name == 'a']c",
    "[",
    "",
]
names = st.sampled_from(CHANNELS) | text


def some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A map with any of these fields, each now and then something else altogether."""
    return st.fixed_dictionaries(
        {}, optional={name: given | given | given | values for name, given in fields.items()}
    )


messages = some(
    id=st.sampled_from(["a", "a:0", "a:1"]) | text,
    name=text,
    data=values | text,
    encoding=st.sampled_from(["json", "utf-8", "base64", ""]) | text,
    clientId=text,
    connectionKey=text,
    extras=st.dictionaries(st.sampled_from(["headers", "ephemeral", "push"]), values, max_size=2),
    serial=text | st.sampled_from(["01700000000000-000@x:000"]),
    action=st.integers(0, 6) | st.booleans(),
    version=some(clientId=text, description=text, metadata=st.dictionaries(text, values)),
)
annotations = some(
    id=text,
    action=st.integers(0, 2),
    type=st.sampled_from(["t:flag.v1", "t:multiple.v1", "t"]) | text,
    messageSerial=text | st.sampled_from(["01700000000000-000@x:000"]),
    name=text,
    count=integers,
    clientId=text,
    data=values | text,
    encoding=text,
    extras=st.dictionaries(text, values, max_size=2),
)
presence = some(
    id=text,
    action=st.integers(0, 5),
    clientId=text,
    data=values | text,
    encoding=text,
    extras=st.dictionaries(text, values, max_size=2),
)
params = st.dictionaries(
    st.sampled_from(["rewind", "rewindLimit", "modes", "occupancy", "delta", "_forceNack"]) | text,
    st.sampled_from(
        ["1", "2s", "publish,subscribe", "metrics", "metrics.publishers", "vcdiff", "true", "x"]
    )
    | values,
    max_size=3,
)
_fields = some(
    channel=names,
    msgSerial=st.integers(0, 5) | integers,
    channelSerial=text
    | st.sampled_from(["01700000000000-000@x:000", "99999999999999-999@aaaaaaaaaa:999"]),
    flags=st.sampled_from([0, 1 << 5, 1 << 16, 1 << 17, 1 << 18, 1 << 19, -1, 2**64]) | integers,
    id=text,
    count=integers,
    params=params,
    messages=st.lists(messages, max_size=3),
    presence=st.lists(presence, max_size=3),
    annotations=st.lists(annotations, max_size=3),
    auth=some(accessToken=text | some(token=text)),
    error=values,
)
_actions = st.sampled_from(
    [Action.ATTACH, Action.MESSAGE, Action.PRESENCE, Action.ANNOTATION] * 4 + [*Action, 18, 99, -1]
)


@st.composite
def protocol_messages(draw: st.DrawFn) -> dict[str, Any]:
    return {"action": int(draw(_actions)), **draw(_fields)}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What one client says. What ends the connection comes last, if at all."""
    said = draw(st.lists(protocol_messages(), min_size=1, max_size=6))
    return sorted(said, key=lambda m: m["action"] in (Action.DISCONNECT, Action.CLOSE))


def frame_of(message: Any, *, binary: bool) -> Frame:
    """As a careless client encodes it: whatever cannot be becomes something that can."""
    if not binary:
        return Frame(False, json.dumps(_plain(message)).encode())
    try:
        return Frame(True, bytes(msgpack.packb(message)))
    except (ValueError, OverflowError):
        return Frame(True, bytes(msgpack.packb(_plain(message), default=str)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, msgpack.ExtType):
        return value.code
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


def mutated(frame: Frame, cut: int, flip: int) -> Frame:
    """A frame with its end gone and one byte changed."""
    damaged = bytearray(frame.data[: len(frame.data) - cut])
    if damaged:
        damaged[flip % len(damaged)] ^= 1 + flip % 255
    return Frame(frame.binary, bytes(damaged))
