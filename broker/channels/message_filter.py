"""Filtered channels: which messages an attachment to `[filter=<expression>]name` is given (RTS5).

    [filter=bmFtZSA9PSBgIngiYA==]orders      as SDKs write it: base64 of the UTF-8 (RTS5a1)
    [filter=name == `"x"`]orders             as a person may, while nothing in it ends the qualifier

An expression is JMESPath over what a message says of itself beside its payload:

    {"name": ..., "clientId": ..., "headers": {...}}      what is absent is null

It holds when JMESPath calls its result true: not null, false, "", [] or {}; 0 is true. An order
between a string and a number is null; a function given what it does not take makes all the
expression not hold. Payloads are opaque to us and are no part of this.

Only questions are allowed: fields, literals, comparisons, logic, lists, pipes, and functions that
ask. Headers are flat, so there is nothing to project; and what builds values (projections, flatten,
hashes, `@`, expression references, `map`, `join`, `to_string`, ...) is how small expressions make
large ones: none of what is left can use twice what it is given once.

Invariants: a `MessageFilter` exists only for an expression within these rules and bounds. Same
expression, same message: same answer.

Fault model: expressions are hostile, and so are messages. Evaluating an expression runs each of its
nodes, NODES_MAX at most, once a message at most. A node takes as long whatever the message holds,
but for comparisons and FUNCTIONS_MAX functions, which look once, at the speed of C, at what they
are given; and all that a message has is in it once for each node at most. So time is linear in the
message. Whoever attaches chooses how many expressions there are: to bound those is for others.

Refuses to do: look into payloads, find the channel or the attachments that a filter is of, or say
what else may be done through it (the protocol: neither publish nor presence).
"""

import base64
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.visitor import TreeInterpreter

from broker.errors import BadRequest
from broker.messages.message import Message

INVALID_FILTER = 40000

EXPRESSION_CHARS_MAX = 2_048
NODES_MAX = 256
DEPTH_MAX = 64
FUNCTIONS_MAX = 32
FILTERS_KEPT = 1_000

# What has only these is base64. Any comparison has a character more; one word alone is not taken.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_NODES = frozenset(
    {
        "and_expression",
        "comparator",
        "field",
        "function_expression",
        "literal",
        "multi_select_list",
        "not_expression",
        "or_expression",
        "pipe",
        "subexpression",
    }
)
# How many arguments each takes; None: one or more.
_FUNCTIONS = {
    "abs": 1,
    "ceil": 1,
    "contains": 2,
    "ends_with": 2,
    "floor": 1,
    "keys": 1,
    "length": 1,
    "not_null": None,
    "starts_with": 2,
    "to_number": 1,
    "type": 1,
    "values": 1,
}


class MessageFilter:
    """A checked expression; make one with `message_filter`."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def matches(self, message: Message) -> bool:
        fields = {
            "name": message.name,
            "clientId": message.client_id,
            "headers": message.extras.get("headers") if message.extras else None,
        }
        try:
            return _is_true(_INTERPRETER.visit(self._tree, fields))
        except (ValueError, TypeError, ArithmeticError):
            return False


class _Interpreter(TreeInterpreter):
    def visit_comparator(self, node: Any, value: Any) -> Any:
        """jmespath puts strings in order too, which the specification does not. Between a string
        and a number it raises, where the specification says null."""
        try:
            return super().visit_comparator(node, value)
        except TypeError:
            return None


_INTERPRETER = _Interpreter()


@lru_cache(maxsize=FILTERS_KEPT)
def message_filter(written: str) -> MessageFilter:
    """The filter of a qualifier, given what follows `filter=` (`ChannelName.expression`).

    Raises BadRequest 40000 for what is no expression, is not allowed in one, or exceeds a bound.
    """
    expression = _expression(written)
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise _invalid(f"it is longer than {EXPRESSION_CHARS_MAX} characters")
    tree = _parsed(expression)
    _check(tree)
    return MessageFilter(tree)


def _expression(written: str) -> str:
    if not _BASE64.fullmatch(written):
        return written
    digits = written.rstrip("=")
    try:
        return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)).decode()
    except ValueError:
        raise _invalid("it is not the base64 of an expression") from None


def _parsed(expression: str) -> Any:
    try:
        with warnings.catch_warnings():
            # `x` for `"x"`: no longer in the specification, and what many write.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            return jmespath.compile(expression).parsed
    except LexerError as error:
        raise _invalid(f"{error.message[:128]} at character {error.lexer_position}") from None
    except ParseError as error:
        raise _invalid(f"{error.msg[:128]} at character {error.lex_position}") from None
    except JMESPathError:
        raise _invalid("it is empty") from None
    except RecursionError:
        raise _invalid("it is nested too deeply") from None


def _check(tree: Any) -> None:
    nodes = list(_nodes(tree))
    for node in nodes:
        if node["type"] not in _NODES:
            raise _invalid(f"a filter has no {node['type'].replace('_', ' ')}")
        if node["type"] == "literal" and not _is_flat(node["value"]):
            raise _invalid("a literal holds no arrays or objects in others, as headers do not")
    calls = [node for node in nodes if node["type"] == "function_expression"]
    if len(calls) > FUNCTIONS_MAX:
        raise _invalid(f"it calls more than {FUNCTIONS_MAX} functions")
    for call in calls:
        _check_call(call["value"], len(call["children"]))


def _nodes(tree: Any) -> Iterator[Any]:
    """Every node under one, and itself. Raises BadRequest beyond the bounds on them."""
    waiting, seen = [(tree, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > NODES_MAX:
            raise _invalid(f"it has more than {NODES_MAX} parts")
        if depth > DEPTH_MAX:
            raise _invalid(f"it is nested more than {DEPTH_MAX} deep")
        yield node
        if node["type"] != "slice":  # its children are numbers
            waiting += ((child, depth + 1) for child in node["children"])


def _is_flat(value: Any) -> bool:
    """Comparing what is nested deeply enough raises RecursionError."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not any(isinstance(each, dict | list) for each in held)


def _check_call(name: str, given: int) -> None:
    if name not in _FUNCTIONS:
        raise _invalid(f"a filter has no function {name[:32]}()")
    wanted = _FUNCTIONS[name]
    if given != wanted and (wanted is not None or not given):
        raise _invalid(f"{name}() takes {wanted or 'some'} arguments, not {given}")


def _is_true(result: Any) -> bool:
    return result is not None and result is not False and result not in ("", [], {})


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"invalid filter: {reason}", INVALID_FILTER)
