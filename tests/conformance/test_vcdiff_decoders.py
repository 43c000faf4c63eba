"""The decoders that the SDKs are given as plugins make of our deltas what went in."""

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from ably.vcdiff.defaultvcdiffdecoder import AblyVCDiffDecoder

from broker.messages.vcdiff import Source
from tests.broker.messages.documents import changed, document, hostile, records

HOME = Path(__file__).parent / "node"
REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
Delta = tuple[bytes, bytes]


def missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (HOME / "node_modules" / "@ably" / "vcdiff-decoder").is_dir():
        return f"@ably/vcdiff-decoder is not installed: npm ci --prefix {HOME}"
    return None


def by_node(deltas: list[Delta]) -> list[bytes]:
    """ably-js's: `@ably/vcdiff-decoder`."""
    if lack := missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{lack}, and {REQUIRED} is set")
        pytest.skip(lack)
    lines = [
        json.dumps({"source": _base64(source), "delta": _base64(delta)}) for source, delta in deltas
    ]
    ran = subprocess.run(
        ["node", str(HOME / "vcdiff.mjs")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [base64.b64decode(line) for line in ran.stdout.split("\n")[:-1]]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def by_python(deltas: list[Delta]) -> list[bytes]:
    """ably-python's: `vcdiff-decoder`, as it wraps it."""
    decoder = AblyVCDiffDecoder()
    return [decoder.decode(delta, source) for source, delta in deltas]


def pairs() -> list[tuple[bytes, bytes]]:
    chance = random.Random(11)
    found = [
        (b"", b""),
        (b"", b"text"),
        (b"text", b""),
        (b"text", b"text"),
        ("πάντα ῥεῖ 🌊".encode() * 9, "πάντα ῥεῖ, 🌊!".encode() * 9),
        (chance.randbytes(5_000), chance.randbytes(5_000)),
    ]
    for size in (100, 1_000, 4_000, 16_000, 64_000):
        before = records(chance, size)
        for share in (0.01, 0.05, 0.5):
            found.append((document(before), document(changed(before, share, chance))))
        chance.shuffle(before)
        found.append((found[-1][0], document(before)))
    return [*found, *hostile(4_096).values()]


@pytest.mark.conformance
@pytest.mark.parametrize("decode", [by_node, by_python])
def test_deltas_decode(decode: Callable[[list[Delta]], list[bytes]]) -> None:
    wanted = pairs()
    deltas = [(source, Source(source).encode(target)) for source, target in wanted]
    assert decode(deltas) == [target for _, target in wanted]


@pytest.mark.conformance
@pytest.mark.parametrize("decode", [by_node, by_python])
def test_a_chain_of_deltas_decodes(decode: Callable[[list[Delta]], list[bytes]]) -> None:
    """As a subscriber has them: each against the one before."""
    chance = random.Random(12)
    state = records(chance, 4_000)
    chain = [document(state)]
    for _ in range(30):
        state = changed(state, 0.02, chance)
        chain.append(document(state))
    deltas = [(source, Source(source).encode(target)) for source, target in pairwise(chain)]
    assert decode(deltas) == chain[1:]
