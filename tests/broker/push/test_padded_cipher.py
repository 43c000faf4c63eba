"""Encrypted texts all look alike, and only their key opens them."""

import json

import pytest
from cryptography.exceptions import InvalidTag

from broker.push.padded_cipher import TEXT_BYTES_MAX, TooLong, encrypted, padded
from tests.broker.push.gematik_client import opened
from tests.storage.surgery import flip

KEY = bytes(range(32))
CHARS = 1_404


@pytest.mark.parametrize("length", [0, 1, 2, 500, 1_017, TEXT_BYTES_MAX])
def test_a_text_of_any_length_comes_back(length: int) -> None:
    text = (b'{"a":"' + b"x" * length)[:length]
    ciphertext = encrypted(KEY, text)
    assert len(ciphertext) == CHARS
    assert opened(KEY, ciphertext) == text
    assert encrypted(KEY, text) != ciphertext, "equal texts do not look equal"


def test_what_is_too_long() -> None:
    assert TEXT_BYTES_MAX == 1_018
    with pytest.raises(TooLong):
        encrypted(KEY, b"x" * (TEXT_BYTES_MAX + 1))


def test_the_padding_is_as_gematik_wrote_it_down() -> None:
    text = json.dumps({"ChannelId": "erp.task.accept"}).encode()
    assert padded(text) == b"PNM1" + (1_018 - len(text)).to_bytes(2, "big") + (
        b" " * (1_018 - len(text)) + text
    )


def test_another_key_or_another_bit_opens_nothing() -> None:
    ciphertext = encrypted(KEY, b"{}")
    with pytest.raises(InvalidTag):
        opened(flip(KEY, 31), ciphertext)
    for at in range(0, CHARS, 97):
        other = "A" if ciphertext[at] != "A" else "B"
        with pytest.raises(InvalidTag):
            opened(KEY, ciphertext[:at] + other + ciphertext[at + 1 :])
