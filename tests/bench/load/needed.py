"""Peers for tests: installed, or the test is skipped and says why."""

import os

import pytest

from bench.load import peers
from bench.load.driver import Peer

ARE_REQUIRED = os.environ.get("TIDELOG_REQUIRE_PEERS") == "1"


def needed(name: str) -> Peer:
    """Skips the test without it; with TIDELOG_REQUIRE_PEERS=1 it fails instead if the peer is not
    installed: one that is may still be too old."""
    peer = peers.peer(name)
    if missing := peer.missing():
        (pytest.fail if ARE_REQUIRED and "not installed" in missing else pytest.skip)(missing)
    return peer
