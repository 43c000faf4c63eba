"""Measurements of this broker beside its peers, honest enough to decide by.

    python -m bench log --quick          one benchmark, as a table
    python -m bench all --write          everything, into bench/RESULTS.md and bench/RESULTS.json

What holds for every benchmark: contenders are measured in turn within one run (A B A B …) and are
reported with their ratio, for the machine under them is never quiet; every acknowledged message is
looked for in the log afterwards, and a run that lost, doubled or invented one has no result; how
fast the disk syncs is measured before and after, and printed. `bench.registry` is what a command
line needs to know.
"""

from bench.siblings import ShadowedPackage as ShadowedPackage
