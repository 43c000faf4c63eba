"""What a process is configured with: one TOML file, the environment, the command line.

Owns the names of all settings. A setting is a field of a settings dataclass, with unit and help in
its metadata, and has one name in three spellings:

    [server]                 TIDELOG_SERVER_PORT=9000          --set server.port=9000
    port = 9000

The command line wins over the environment, which wins over the file, which wins over the default;
`tidelog config` says which it was. The file may also declare apps, keys, namespaces, instances of
Beams and rules of Matrix pushers, which the server reconciles into its log at every start
([[apps]], [[keys]], [[namespaces]], [[beams]], [[matrix]]).

Refuses what it does not know and what has the wrong type: ConfigError names where it was found, the
key, and what would be right. An unknown TIDELOG_ variable outside the sections may be somebody
else's (container platforms make them up), so it is not refused but listed in `unused`.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from api.config.catalogue import (
    ENVIRONMENT_PREFIX,
    SECTIONS,
    SETTINGS,
    ProcessSettings,
    Setting,
    Value,
)
from api.config.declared import TABLES, Declarations, declared
from api.config.errors import ConfigError
from api.push.settings import PushSettings
from api.settings import ServerSettings
from broker import BrokerSettings

FILE_VARIABLE = "TIDELOG_CONFIG"
KEY_VARIABLE = "TIDELOG_KEY"
FILE_BYTES_MAX = 1024 * 1024

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}
_SECTION_PREFIXES = tuple(
    f"{ENVIRONMENT_PREFIX}{section.upper()}_" for section in SECTIONS if section
)


class Effective(NamedTuple):
    """A setting's value, and where it came from: default, file, env or flag."""

    value: Value
    origin: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    process: ProcessSettings
    server: ServerSettings
    broker: BrokerSettings
    push: PushSettings
    declared: Declarations
    effective: dict[str, Effective]
    file: Path | None = None
    unused: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        return Path(self.process.data)


def load(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str | bool] | None = None,
    key: str | None = None,
) -> Configuration:
    """The effective configuration. `flags`: settings by name, from the command line; text is read
    as the environment's is. `key`: one more key to declare. Raises ConfigError."""
    environment = environment or {}
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    document = _read(file) if file else {}
    effective = {setting.name: Effective(setting.default, "default") for setting in SETTINGS}
    effective |= dict(_from_file(document, file))
    effective |= dict(_from_environment(environment))
    effective |= dict(_from_flags(flags or {}))
    keys = [text for text in (environment.get(KEY_VARIABLE), key) if text]
    return Configuration(
        **_settings(effective),
        declared=declared(document, file, keys),
        effective=effective,
        file=file,
        unused=_unused(environment),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ConfigError(f"{file} is larger than {FILE_BYTES_MAX} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _from_file(document: Mapping[str, Any], file: Path | None) -> Iterator[tuple[str, Effective]]:
    for name, value in _flat(document, file):
        setting = _BY_NAME.get(name)
        if setting is None:
            raise _unknown(f"{file}: {name}", name)
        yield name, _checked(setting, setting.kind.from_toml, value, f"{file}: {name}", "file")


def _flat(document: Mapping[str, Any], file: Path | None) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if name in TABLES:
            continue
        if name not in SECTIONS:
            yield name, value
        elif isinstance(value, dict):
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            raise ConfigError(f"{file}: {name} must be a section: [{name}]")


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Effective]]:
    for variable, text in environment.items():
        setting = _BY_VARIABLE.get(variable)
        if setting is not None:
            where = f"environment variable {variable}"
            yield setting.name, _checked(setting, setting.kind.from_text, text, where, "env")
        elif variable.startswith(_SECTION_PREFIXES):
            raise _unknown(f"environment variable {variable}", variable)


def _from_flags(flags: Mapping[str, str | bool]) -> Iterator[tuple[str, Effective]]:
    for name, value in flags.items():
        setting = _BY_NAME.get(name)
        if setting is None:
            raise _unknown(f"command line: {name}", name)
        read = setting.kind.from_text if isinstance(value, str) else setting.kind.from_toml
        yield name, _checked(setting, read, value, f"command line: {name}", "flag")


def _checked(
    setting: Setting, read: Callable[[Any], Value], given: object, where: str, origin: str
) -> Effective:
    """Each value is tried alone over the defaults, so that a refusal can say where it came from."""
    try:
        value = read(given)
    except ValueError:
        raise ConfigError(
            f"{where} must be {setting.kind.description} ({setting.unit}: {setting.help})"
        ) from None
    try:
        SECTIONS[setting.section](**{setting.field: value})
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return Effective(value, origin)


def _unknown(where: str, name: str) -> ConfigError:
    return ConfigError(f"{where} is not a setting; `tidelog config` lists those that are")


def _unused(environment: Mapping[str, str]) -> tuple[str, ...]:
    known = {FILE_VARIABLE, KEY_VARIABLE, *_BY_VARIABLE}
    return tuple(
        sorted(
            name
            for name in environment
            if name.startswith(ENVIRONMENT_PREFIX) and name not in known
        )
    )


def _settings(effective: Mapping[str, Effective]) -> dict[str, Any]:
    of: dict[str, dict[str, Value]] = {section: {} for section in SECTIONS}
    for setting in SETTINGS:
        of[setting.section][setting.field] = effective[setting.name].value
    nested = {name: SECTIONS[name](**of[name]) for name in ("log", "rate_limits")}
    return {
        "process": ProcessSettings(**of[""]),
        "server": ServerSettings(**of["server"]),
        "broker": BrokerSettings(**of["broker"], **nested),
        "push": PushSettings(**of["push"]),
    }


__all__ = ["SETTINGS", "ConfigError", "Configuration", "Declarations", "Effective", "load"]
