"""docs/operating.md says of every limit which error it comes to, names what there is, and its
commands and configurations work."""

import re
import shlex
import tomllib
from pathlib import Path

import trio

import broker
from api.config import load
from api.config.catalogue import SETTINGS
from api.metrics.catalogue import METRICS
from broker.limits.over import CONNECTIONS, LIMITS, TOO_MANY_CONNECTIONS
from broker.tenancy import Limits, NamespaceRules
from tests.api.command_line import inside

PAGE = Path(__file__).parents[1] / "docs" / "operating.md"
_ROW = re.compile(r"^\| `(\w+)` \| .* \| (\d{5})\b", re.MULTILINE)
_TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)
_SCRIPT = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_NAMED = re.compile(r"`([a-z]+_[a-z_]+)`")


def test_every_limit_is_there_with_its_code() -> None:
    told = {name: int(code) for name, code in _ROW.findall(PAGE.read_text())}
    codes = {name: limit.code for name, limit in LIMITS.items()}
    assert told == codes | {CONNECTIONS: TOO_MANY_CONNECTIONS}


def test_what_looks_like_a_setting_or_a_metric_is_one() -> None:
    known = {setting.field for setting in SETTINGS} | {metric.name for metric in METRICS}
    known |= {*Limits.__struct_fields__, *NamespaceRules.__struct_fields__}
    assert set(_NAMED.findall(PAGE.read_text())) - known == {"request_id", "trace_id"}


def test_its_configurations_can_be_loaded(tmp_path: Path) -> None:
    for text in _TOML.findall(PAGE.read_text()):
        file = tmp_path / "tidelog.toml"
        file.write_text(text.replace("…", "hush"))
        assert load(file).effective
        assert tomllib.loads(text)


def test_its_commands_do_what_they_say(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def prepare() -> None:
        async with broker.open(data, create_app=False) as opened:
            await opened.apps.ensure_key("shop.web:hush-hush")

    trio.run(prepare)
    (script,) = _SCRIPT.findall(PAGE.read_text())
    for line in script.splitlines():
        ended = inside(*shlex.split(line)[1:], "--data", data)
        assert (ended.status, ended.err) == (0, ""), line
    (app,) = inside("apps", "list", "--json", "--data", data).json
    (key,) = inside("keys", "list", "--json", "--data", data).json
    (rules,) = inside("namespaces", "list", "--json", "--data", data).json
    declared = tomllib.loads(_TOML.findall(PAGE.read_text())[0])
    assert app["limits"] == declared["apps"][0]["limits"]
    assert key["limits"] == declared["keys"][0]["limits"]
    assert rules["messages_per_s"] == declared["namespaces"][0]["messages_per_s"]
