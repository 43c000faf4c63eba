"""`python -m api.workers.process FD`: becomes the worker that the supervisor at FD asks for.

Says what went wrong as a command does, with the same exit status.
"""

import os
import socket
import sys
from pathlib import Path

from api import config, structured_logging
from api.cli import outcome
from api.config import Configuration
from api.server import run_process
from api.workers.control import Control, Plan
from api.workers.follower import Follower
from api.workers.leader import Leader


def main(descriptor: int) -> int:
    told = Control(socket.socket(fileno=descriptor))
    plan = told.plan
    assert isinstance(plan, Plan)
    structured_logging.configure("error", plan.number)
    try:
        return _run(told, plan)
    except BaseException as error:
        return outcome.of(error)


def _run(told: Control, plan: Plan) -> int:
    def load() -> Configuration:
        file = Path(plan.file) if plan.file is not None else None
        return config.load(file, environment=os.environ, flags=plan.flags, key=plan.key)

    configuration = load()
    structured_logging.configure(configuration.process.log_level, plan.number)
    if plan.number:
        *listening, log, requests = told.descriptors
        follower = Follower(
            configuration,
            told,
            _sockets(listening),
            number=plan.number,
            log=log,
            requests=requests,
            reload=load,
        )
        return run_process(follower)
    from api.cli.serve import welcome_to

    leader = Leader(
        configuration,
        told,
        _sockets(told.descriptors),
        welcome=welcome_to(configuration, plan.is_new),
        reload=load,
        accept_loss=plan.accept_loss,
    )
    return run_process(leader)


def _sockets(descriptors: list[int]) -> list[socket.socket]:
    return [socket.socket(fileno=one) for one in descriptors]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
