"""What any log must do, whatever it is stored in: subclass `LogContract` and name the backend.

    class TestLmdbLog(LogContract):
        def backend(self, path, wall, settings): ...    # async context manager: an open log
        def hold(self, log): ...                        # async context manager: no command is taken
        def check(self, path): ...                      # what is not intact in a closed log

The domain is the toy ledger. Every test goes through `open`, which checks the closed log at the
end: chains, index, and projections against a rebuild.
"""

from tests.storage.contract_append import AppendContract
from tests.storage.contract_queue import QueueContract
from tests.storage.contract_retention import RetentionContract
from tests.storage.contract_tail import TailContract


class LogContract(AppendContract, QueueContract, TailContract, RetentionContract):
    """The whole contract."""
