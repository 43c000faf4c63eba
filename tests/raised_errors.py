"""Every error code in the sources, and the statuses that each is raised with.

A code is a number of five digits, written without an underscore (a quantity has one: 10_000). Its
status is looked up where an error is made: the arguments of the call, evaluated in its module. Of a
code that is only given through variables, the statuses are those of the calls with variables in the
modules where it stands.
"""

import ast
import importlib
import inspect
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from broker.errors import BrokerError
from tests.documents import ROOT

_CODE = re.compile(r"[4-9]\d{4}")
_PACKAGES = ("api", "broker")


def statuses() -> dict[int, set[int]]:
    """By code: of every code that there is."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    through_variables: defaultdict[int, set[int]] = defaultdict(set)
    for file in _files():
        made = set(_made_in(file))
        for code, status in made:
            if code is not None:
                found[code].add(status)
        for code in _codes_in(file):
            through_variables[code] |= {status for given, status in made if given is None}
    return through_variables | found


def _codes_in(file: Path) -> Iterator[int]:
    with file.open() as lines:
        for token in tokenize.generate_tokens(lines.readline):
            if token.type == tokenize.NUMBER and _CODE.fullmatch(token.string):
                yield int(token.string)


def _made_in(file: Path) -> Iterator[tuple[int | None, int]]:
    """Of each error that a module makes its code, None where that is a variable, and its status."""
    names = vars(importlib.import_module(_module(file)))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and (made := _made(node, names)) is not None:
            yield made


def _files() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted(set((ROOT / package).rglob("*.py")) - {ROOT / "api/cli/__main__.py"})


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _made(call: ast.Call, names: Mapping[str, Any]) -> tuple[int | None, int] | None:
    """The code and status of the error that a call makes: the class's own, or those that its
    `super().__init__` is given."""
    if ast.unparse(call.func) == "super().__init__":
        return _given([BrokerError, *_errors(names)], call, names)
    kind = _value(call.func, names)
    if inspect.isclass(kind) and issubclass(kind, BrokerError):
        return _given([kind], call, names)
    return None


def _errors(names: Mapping[str, Any]) -> Iterator[type]:
    """Errors that the classes of a module may inherit from."""
    for name in names.values():
        if inspect.isclass(name) and issubclass(name, BrokerError):
            yield name


def _given(
    kinds: list[type], call: ast.Call, names: Mapping[str, Any]
) -> tuple[int | None, int] | None:
    for kind in kinds:
        try:
            bound = inspect.signature(kind).bind(
                *call.args, **{str(one.arg): one.value for one in call.keywords}
            )
        except TypeError:
            continue
        bound.apply_defaults()
        code, status = (_value(bound.arguments.get(name), names) for name in ("code", "status"))
        if isinstance(status, int):
            return code if isinstance(code, int) else None, status
    return None


def _value(node: object, names: Mapping[str, Any]) -> object:
    """What an expression is in its module; None for what it is not there."""
    if not isinstance(node, ast.AST):
        return node
    assert isinstance(node, ast.expr)
    try:
        return eval(compile(ast.Expression(node), "", "eval"), dict(names))
    except Exception:
        return None
