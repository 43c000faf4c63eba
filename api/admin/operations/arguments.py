"""What operations are given: arguments checked against annotations, and the app they name.

An argument's type is its annotation. What does not fit, or is not known, is refused here, before
anything runs.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from broker import Broker, NotFound
from broker.errors import BadRequest

INVALID_ARGUMENTS = 40003


def argument_struct(function: Callable[..., Any]) -> type[msgspec.Struct]:
    """A type with one field per argument, to check them against."""
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: list[Any] = [
        (item.name, hints[item.name])
        if item.default is inspect.Parameter.empty
        else (item.name, hints[item.name], item.default)
        for item in parameters
    ]
    return msgspec.defstruct("arguments", fields, forbid_unknown_fields=True)


def converted(value: Any, kind: Any) -> Any:
    """A plain value as `kind`. Raises BadRequest 40003 if it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{error}", INVALID_ARGUMENTS) from None


def existing_app(broker: Broker, app: str | None) -> str:
    """The app's id; the oldest app's when none is named."""
    if app is None:
        return broker.default_app()
    if not broker.apps.app_exists(app):
        raise NotFound(f"there is no app {app!r}")
    return app
