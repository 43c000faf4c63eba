"""`python -m api.cli` is `tidelog`."""

from api.cli import main

main()
