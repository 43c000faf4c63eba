"""Which Tidelog this is."""

from importlib.metadata import PackageNotFoundError, version


def tidelog_version() -> str:
    """The installed distribution's version."""
    try:
        return version("tidelog")
    except PackageNotFoundError:  # run from a source tree
        return "unreleased"
