"""Documents change as much as they say, and what a subscriber should not have received is found."""

import base64
import json
from itertools import count, islice, pairwise

import pytest

from bench.acknowledged import Wrong
from bench.realtime.documents import CHANGED, DocumentOrder, DocumentPublisher, documents
from bench.realtime.wires import MARK
from broker.messages.vcdiff import encode


class Published(DocumentPublisher):
    """Without a connection."""

    def __init__(self) -> None:
        self.digests: list[bytes] = []
        self.headers: dict[str, str] = {}
        self._documents = documents(2_000)


def frames(items: list[dict[str, object]]) -> bytes:
    payload = json.dumps({"action": 15, "messages": items}).encode()
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


def whole(number: int, sent: dict[str, object]) -> dict[str, object]:
    return {**sent, "id": f"{number}:0"}


def delta(number: int, sent: dict[str, object], base: tuple[int, str]) -> dict[str, object]:
    made = encode(base[1].encode(), str(sent["data"]).encode())
    extras = {"delta": {"from": f"{base[0]}:0", "format": "vcdiff"}}
    return {**sent, "id": f"{number}:0", "data": base64.b64encode(made).decode(), "extras": extras}


@pytest.mark.parametrize("size", [800, 4_096, 32_768])
def test_of_a_document_few_fields_change(size: int):
    made = list(islice(documents(size), 5))
    for number, document in enumerate(made):
        assert abs(len(document) - size) < 100
        assert int(json.loads(document)["number"]) == number
        assert MARK.decode() not in document
    for before, after in pairwise(map(json.loads, made)):
        changed = sum(before[name] != after[name] for name in before) - 1  # the number
        assert changed == max(1, round((len(before) - 1) * CHANGED))


def test_whole_documents_and_deltas_are_accepted():
    publisher = Published()
    sent = [publisher.message(number, 0) for number in range(3)]
    order = DocumentOrder(publisher, count())
    stream = frames([whole(0, sent[0])])
    stream += frames([delta(n, sent[n], (n - 1, str(sent[n - 1]["data"]))) for n in (1, 2)])
    for at in range(0, len(stream), 100):
        order.feed(stream[at : at + 100])
    order.check(3)
    assert order.deltas == 2
    with pytest.raises(Wrong, match="up to 3, not 4"):
        order.check(4)


def test_what_is_not_the_document_is_found():
    publisher = Published()
    sent = [publisher.message(number, 0) for number in range(3)]
    with pytest.raises(Wrong, match="not document 0"):
        DocumentOrder(publisher, count()).feed(frames([whole(1, sent[1])]))
    order = DocumentOrder(publisher, count())
    order.feed(frames([whole(0, sent[0])]))
    with pytest.raises(Wrong, match="delta of another"):
        order.feed(frames([delta(1, sent[1], (7, str(sent[0]["data"])))]))
    order = DocumentOrder(publisher, count())
    order.feed(frames([whole(0, sent[0])]))
    with pytest.raises(Wrong, match="not document 1"):
        order.feed(frames([delta(1, sent[2], (0, str(sent[0]["data"])))]))
