"""A delta is made once for all who hold the same, whatever else their frames differ in."""

import pytest

from api.realtime.deltas import Base, as_deltas
from broker.messages.vcdiff import Source

OLD, NEW = "the tide comes in " * 20, "the tide goes out " + "the tide comes in " * 20


def item(id_: str, data: str) -> dict[str, object]:
    return {"id": id_, "data": data, "action": 0}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []
    encode = Source.encode

    def counted(self: Source, target: bytes) -> bytes:
        found.append(target)
        return encode(self, target)

    monkeypatch.setattr(Source, "encode", counted)
    return found


def test_one_for_all_formats_filters_and_pages(made: list[bytes]):
    told = [
        as_deltas([item("a:0", NEW)], Base("b:0", OLD.encode()), binary=binary)
        for binary in (True, True, False, False)
    ]
    assert made == [NEW.encode()]
    assert told[0].items == told[1].items
    assert told[2].items == told[3].items
    assert len({one.base for one in told}) == 1


def test_another_base_is_another_delta(made: list[bytes]):
    for id_, payload in (("1:0", OLD), ("2:0", OLD), ("2:0", OLD + "!")):
        base = Base(id_, payload.encode())
        (told,) = as_deltas([item("c:0", NEW)], base, binary=True).items
        assert told["extras"] == {"delta": {"from": id_, "format": "vcdiff"}}
    assert len(made) == 3
