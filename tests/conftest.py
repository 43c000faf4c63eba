"""Lets tests import `storage`, `broker`, … and each other (`tests.storage.ledger`) by path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
