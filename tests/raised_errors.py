"""Every error code in the sources, and the statuses that each is raised with.

A code is a number of five digits, written without an underscore (a quantity has one: 10_000). Its
status is looked up where an error is made: the arguments of the call, evaluated in its module. A
call whose code is a variable says nothing here; the code is a constant somewhere, and found there.
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


def codes() -> set[int]:
    return {
        int(token.string)
        for file in _files()
        for token in _tokens(file)
        if token.type == tokenize.NUMBER and _CODE.fullmatch(token.string)
    }


def statuses() -> dict[int, set[int]]:
    """By code. One that is only raised through a variable has none here."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for file in _files():
        names = vars(importlib.import_module(_module(file)))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and (made := _made(node, names)) is not None:
                code, status = made
                found[code].add(status)
    return found


def _files() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted(set((ROOT / package).rglob("*.py")) - {ROOT / "api/cli/__main__.py"})


def _tokens(file: Path) -> Iterator[tokenize.TokenInfo]:
    with file.open() as lines:
        yield from tokenize.generate_tokens(lines.readline)


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _made(call: ast.Call, names: Mapping[str, Any]) -> tuple[int, int] | None:
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


def _given(kinds: list[type], call: ast.Call, names: Mapping[str, Any]) -> tuple[int, int] | None:
    for kind in kinds:
        try:
            bound = inspect.signature(kind).bind(
                *call.args, **{str(one.arg): one.value for one in call.keywords}
            )
        except TypeError:
            continue
        bound.apply_defaults()
        code, status = (_value(bound.arguments.get(name), names) for name in ("code", "status"))
        if isinstance(code, int) and isinstance(status, int):
            return code, status
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
