"""Importing this checks that the packages ours is built on are ours too, not strangers of the name.

`storage`, `broker` and `api` are ordinary names, and Python takes the first it finds: a program's
own `storage.py` would be imported here in place of ours. Ours is what is installed beside this
package. Only what this package imports is looked at: a program that embeds the broker may well have
an `api` of its own. Nothing is imported to find out.

The same file is in every package that imports another, for none can be taken from elsewhere before
it is known to be ours (`tests/test_siblings.py`).
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

_IMPORTED_BY = {
    "broker": ("storage",),
    "api": ("broker", "storage"),
    "bench": ("api", "broker", "storage"),
}


class ShadowedPackage(ImportError):
    """A stranger's file is imported in place of one of our packages. `path`: the stranger's;
    `shadowed`: ours."""

    def __init__(self, name: str, path: str | None, shadowed: str) -> None:
        found = f"{path} comes first and shadows it" if path else "Python does not find it"
        super().__init__(
            f"tidelog's package {name!r} is {shadowed}, but {found}: rename that file or take its "
            "directory off sys.path, for the two cannot be used in one program",
            name=name,
            path=path,
        )
        self.shadowed = shadowed


def _check(name: str) -> None:
    ours = Path(__file__).resolve().parents[1] / name / "__init__.py"
    found = _path(_spec(name))
    if found is None or Path(found).resolve() != ours:
        raise ShadowedPackage(name, found, str(ours))


def _spec(name: str) -> ModuleSpec | None:
    """Of what is imported already, or would be."""
    loaded = sys.modules.get(name)
    return loaded.__spec__ if loaded else find_spec(name)


def _path(spec: ModuleSpec | None) -> str | None:
    """A directory without `__init__.py` has no file, but is found if ours is nowhere."""
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


for _name in _IMPORTED_BY[__package__ or ""]:
    _check(_name)
