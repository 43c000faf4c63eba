"""How many files and sockets the process may open: raised to what the system grants, and checked.

Every connection takes a descriptor, and a process that has none left can neither accept nor open
its log. So some are kept back from connections, and a system that grants too few is refused at
the start.
"""

import resource

RESERVED_DESCRIPTORS = 256  # the log, its side files, threads, and connections being turned away
WANTED_DESCRIPTORS_MAX = (
    1_048_576  # an unlimited hard limit may not be set as the soft one everywhere
)


class TooFewDescriptorsError(Exception):
    """The operator must raise the limit (`ulimit -n`, or LimitNOFILE= of a systemd unit)."""


def raise_limit(minimum: int) -> int:
    """Raise the soft limit to the hard one, and return what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft != resource.RLIM_INFINITY and soft < minimum:
        raise TooFewDescriptorsError(
            f"the system grants {soft} file descriptors, {minimum} are needed: raise `ulimit -n`"
        )
    return WANTED_DESCRIPTORS_MAX if soft == resource.RLIM_INFINITY else soft


def connections_affordable(descriptors: int, wanted: int) -> int:
    return min(wanted, max(1, descriptors - RESERVED_DESCRIPTORS))
