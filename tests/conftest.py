"""What is asked when a run has ended."""

import pytest

from tests.outcomes import Outcomes
from tests.rest_document import named

ASKED_IN = "tests/test_rest_docs.py"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(named, ASKED_IN), "outcomes")
