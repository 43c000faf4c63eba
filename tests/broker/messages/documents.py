"""Pairs of payloads to make deltas of: documents as channels carry them, and hostile ones."""

import json
import random
from typing import Any

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india"]
HOSTILE_BYTES = 32 * 1024


def record(chance: random.Random) -> dict[str, Any]:
    return {
        "id": f"{chance.getrandbits(32):08x}",
        "name": f"{chance.choice(WORDS)} {chance.choice(WORDS)}",
        "status": chance.choice(["active", "idle", "lost"]),
        "x": round(chance.random() * 1000, 3),
        "tags": [chance.choice(WORDS), chance.choice(WORDS)],
        "updatedAt": 1_700_000_000_000 + chance.randrange(10**9),
    }


def records(chance: random.Random, size: int) -> list[dict[str, Any]]:
    """So many that they make a document of about `size` bytes."""
    found = [record(chance)]
    return found + [record(chance) for _ in range(size // (len(document(found)) - 8))]


def document(of: list[dict[str, Any]]) -> bytes:
    return json.dumps({"items": of}, separators=(",", ":")).encode()


def changed(of: list[dict[str, Any]], share: float, chance: random.Random) -> list[dict[str, Any]]:
    """With that share of all fields changed."""
    return [
        {
            name: record(chance)[name] if chance.random() < share else value
            for name, value in each.items()
        }
        for each in of
    ]


def hostile(size: int = HOSTILE_BYTES) -> dict[str, tuple[bytes, bytes]]:
    """What costs a search most that walks, probes, or trusts: by what is wrong with it."""
    chance = random.Random(size)
    base = document(records(chance, size))
    noise = chance.randbytes(size)
    shuffled = records(random.Random(size), size)
    chance.shuffle(shuffled)
    places = [chance.randrange(len(base) - 20) for _ in range(size // 20)]
    return {
        "one byte": (b"a" * size, b"a" * (size - 1) + b"b" + b"a" * 100),
        "one byte, broken often": (b"a" * size, (b"a" * 100 + b"b") * (size // 101)),
        "two bytes, out of step": (b"ab" * (size // 2), b"b" + b"ab" * (size // 2) + b"x"),
        "a period of 33": (
            bytes(range(33)) * (size // 33),
            bytes(range(32, -1, -1)) * (size // 33),
        ),
        "seeds that nearly fit": (b"a" * size, (b"aaaaaabaaaaa" * size)[:size]),
        "noise": (noise, chance.randbytes(size)),
        "nothing in common": (base, bytes(255 - byte for byte in base)),
        "another document": (base, document(records(chance, size))),
        "all records moved": (base, document(shuffled)),
        "scraps": (base, b"".join(base[at : at + 20] + b"\xff" for at in places)),
        "everything is new": (b"", base),
    }
