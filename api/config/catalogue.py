"""The catalogue: every setting there is, with its type, default, unit and help.

A setting is a field of a settings dataclass that carries unit and help. Its name is the section's
and the field's, so no two settings can share one; a setting of a type that is not in the table of
kinds fails the import, not the operator.
"""

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from api.push.settings import PushSettings
from api.settings import ServerSettings
from broker import BrokerSettings, RateLimitSettings

ENVIRONMENT_PREFIX = "TIDELOG_"
DEFAULT_DATA = "data"
LOG_LEVELS = ("debug", "info", "warning", "error")

Value = Any  # int, str, bool or a tuple of str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSettings:
    """What `tidelog serve` itself is told; the file's settings outside of any section."""

    data: str = field(
        default=DEFAULT_DATA, metadata={"unit": "directory", "help": "where the log is kept"}
    )
    tls_cert: str = field(
        default="", metadata={"unit": "PEM file", "help": "certificate chain; with tls_key"}
    )
    tls_key: str = field(
        default="", metadata={"unit": "PEM file", "help": "private key of tls_cert"}
    )
    tls_dev: bool = field(
        default=False,
        metadata={"unit": "on or off", "help": "TLS with a development certificate, made once"},
    )
    sandbox: bool = field(
        default=False,
        metadata={"unit": "on or off", "help": "let SDK test suites make apps over HTTP"},
    )
    log_level: str = field(
        default="info",
        metadata={"unit": "level", "help": f"least severe line logged: {', '.join(LOG_LEVELS)}"},
    )

    def __post_init__(self) -> None:
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}")
        if not self.data:
            raise ValueError("data must name a directory")


SECTIONS: dict[str, type] = {
    "": ProcessSettings,
    "server": ServerSettings,
    "broker": BrokerSettings,
    "rate_limits": RateLimitSettings,
    "push": PushSettings,
    "log": type(BrokerSettings().log),
}


class Kind(NamedTuple):
    """A type that settings have: what to call it, how text becomes it, what TOML gives for it."""

    description: str
    from_text: Callable[[str], Value]
    from_toml: Callable[[object], Value]


# What is read again while the server runs (api.reloading): sections, and settings of none.
RELOADED = frozenset({"rate_limits", "log_level", "tls_cert", "tls_key"})


class Setting(NamedTuple):
    section: str
    field: str
    kind: Kind
    default: Value
    unit: str
    help: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.field}".removeprefix(".")

    @property
    def reloads(self) -> bool:
        """Whether SIGHUP applies it; else it wants a restart."""
        return (self.section or self.field) in RELOADED

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(_text(item) for item in value)


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _boolean_of(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


def _integer_of(text: str) -> int:
    if not (text.isascii() and text.replace("_", "").isdigit()):
        raise ValueError
    return int(text)


def _texts_of(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_KINDS: dict[object, Kind] = {
    int: Kind("an integer, 0 or more", _integer_of, _integer),
    str: Kind("text", str, _text),
    bool: Kind("true or false", _boolean_of, _boolean),
    tuple[str, ...]: Kind("a list of texts (separated by commas)", _texts_of, _texts),
}


def _all_settings() -> Iterator[Setting]:
    for section, owner in SECTIONS.items():
        types = typing.get_type_hints(owner)
        for item in fields(owner):
            if "unit" in item.metadata:
                unit, text = item.metadata["unit"], item.metadata["help"]
                yield Setting(
                    section, item.name, _KINDS[types[item.name]], item.default, unit, text
                )


SETTINGS = tuple(_all_settings())
