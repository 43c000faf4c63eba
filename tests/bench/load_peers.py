"""Peers for tests: installed, or the test is skipped and says why."""

import os

import pytest

from bench.load import peers
from bench.load.driver import Peer

ARE_REQUIRED = os.environ.get("TIDELOG_REQUIRE_PEERS") == "1"


def needed(name: str) -> Peer:
    """Skips the test without it; with TIDELOG_REQUIRE_PEERS=1 it fails instead."""
    peer = peers.peer(name)
    if missing := peer.missing():
        (pytest.fail if ARE_REQUIRED else pytest.skip)(missing)
    return peer
