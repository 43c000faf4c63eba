"""What a fault test needs from the machine: without it the test is skipped, saying what is missing.

TIDELOG_REQUIRE_FAULT_TESTS=1 (set by .ci/run) turns every such skip into a failure, so that a fault
that nobody injects is never mistaken for a fault that we survive.
"""

import os
import shutil
from typing import NoReturn

import pytest

FORCED = "TIDELOG_REQUIRE_FAULT_TESTS"


def unavailable(why: str) -> NoReturn:
    if os.environ.get(FORCED) == "1":
        pytest.fail(f"{why} (a failure, not a skip, because {FORCED}=1)")
    pytest.skip(why)


def tool(name: str) -> str:
    """The path of a program that the test needs."""
    found = shutil.which(name)
    if found is None:
        unavailable(f"{name} is not installed (apt install {name})")
    return found


def knob(name: str, default: int) -> int:
    """A number from the environment: how long to look."""
    return int(os.environ.get(name, default))
