"""Settings from file, environment and command line: precedence, refusals, declarations."""

import re
from pathlib import Path

import pytest

from api.config import SETTINGS, ConfigError, Configuration, load
from broker.apps import ROOT_CAPABILITY
from broker.tenancy import Limits, NamespaceRules
from tests.api.command_line import inside


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "tidelog.toml"
    file.write_text(text)
    return file


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    return str(caught.value)


def test_defaults() -> None:
    found = load()
    assert (found.server.port, found.data, found.broker.log.max_bytes) == (8080, Path("data"), 0)
    assert {effective.origin for effective in found.effective.values()} == {"default"}


def test_later_sources_win(tmp_path: Path) -> None:
    file = written(tmp_path, '[server]\nhost = "a"\nport = 1\nbacklog = 1\nlinger_ms = 7\n')
    environment = {"TIDELOG_SERVER_PORT": "2", "TIDELOG_SERVER_BACKLOG": "2"}
    found = load(file, environment=environment, flags={"server.backlog": "3"})
    assert (found.server.host, found.server.port, found.server.backlog) == ("a", 2, 3)
    names = ("linger_ms", "port", "backlog", "body_bytes_max")
    origins = [found.effective[f"server.{name}"].origin for name in names]
    assert origins == ["file", "env", "flag", "default"]


def test_every_section_reaches_its_settings(tmp_path: Path) -> None:
    text = (
        'data = "d"\nsandbox = true\n[server]\ntrusted_proxies = ["10.0.0.0/8"]\n'
        "[broker]\nhistory_limit_max = 5\n[log]\nmax_bytes = 9\n"
    )
    found = load(written(tmp_path, text))
    assert (found.process.data, found.process.sandbox) == ("d", True)
    assert found.server.trusted_proxies == ("10.0.0.0/8",)
    assert (found.broker.history_limit_max, found.broker.log.max_bytes) == (5, 9)


def test_every_setting_is_documented_and_named_once() -> None:
    assert all(setting.unit and setting.help for setting in SETTINGS)
    for names in ([s.name for s in SETTINGS], [s.variable for s in SETTINGS]):
        assert len(names) == len(set(names))


def test_every_setting_can_be_given_as_text() -> None:
    for setting in SETTINGS:
        default = setting.default
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert load(flags={setting.name: text}).effective[setting.name].value == default
        assert load(environment={setting.variable: text}).effective[setting.name].origin == "env"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", r"prot is not a setting"),
        ("[server]\nprot = 1", r"server\.prot is not a setting"),
        ("[sever]\nport = 1", r"sever is not a setting"),
        ("server = 1", r"server must be a section"),
        ('[server]\nport = "80"', r"server\.port must be an integer"),
        ("[server]\nport = true", r"server\.port must be an integer"),
        ("[server]\nport = 1.5", r"server\.port must be an integer"),
        ("[server]\nport = -1", r"server\.port must be an integer, 0 or more"),
        ("[server]\nport = 65536", r"server\.port: port is at most 65535"),
        ("[server]\nbacklog = 0", r"server\.backlog: .*too small"),
        ('[server]\ntrusted_proxies = ["x"]', r"server\.trusted_proxies: 'x'"),
        ('[server]\nmatrix_hosts = ["a.b:80"]', r"server\.matrix_hosts: 'a\.b:80' is no host name"),
        ('[server]\nmatrix_hosts = ["https://a.b"]', r"server\.matrix_hosts: .* is no host name"),
        ('[server]\nmatrix_hosts = [""]', r"server\.matrix_hosts: '' is no host name"),
        ('[server]\ntrusted_proxies = "10.0.0.0/8"', r"must be a list of texts"),
        ("sandbox = 1", r"sandbox must be true or false"),
        ('log_level = "loud"', r"log_level must be one of debug, info"),
        ('data = ""', r"data must name a directory"),
        ("[log]\nread_threads = 0", r"log\.read_threads"),
        ("x = ", r"is not valid TOML"),
        ('[[apps]]\nname = "x"', r"\[\[apps\]\] number 1: .*missing.*id"),
        ('[[apps]]\nid = "x"\ncolour = "red"', r"\[\[apps\]\] number 1: .*colour"),
        ('[[keys]]\nkey = "a.b:c"\n[[keys]]\nkey = 1', r"\[\[keys\]\] number 2: Expected `str`"),
        ('[[keys]]\nkey = "a.b:c"\ncapability = "{"', r"\[\[keys\]\] number 1: "),
        ('[[namespaces]]\nid = "x"\npersist = true', r"persist is not a rule; the rules are"),
        ('[[namespaces]]\nid = "x"\npersisted = 1', r"number 1: Expected `bool`"),
        ("[[namespaces]]\npersisted = true", r"number 1: .*missing.*id"),
        ('[[namespaces]]\nid = "x"\nmessages_per_s = -1', r"number 1: messages_per_s must be"),
        ('[[apps]]\nid = "x"\nlimits.messages_per_s = -1', r"number 1: messages_per_s must be"),
        ('[[apps]]\nid = "x"\nlimits.per_day = 1', r"number 1: .*unknown field `per_day`"),
        ('[[keys]]\nkey = "a.b:c"\nlimits.bytes_per_s = "x"', r"number 1: Expected `int \| null`"),
        ("[rate_limits]\nburst_ms = 0", r"burst_ms is too small"),
        ("[[matrix]]\nchannel = {}", r"\[\[matrix\]\] number 1: .*channel"),
        ('[[matrix]]\nchannels = { a = "on" }', r"\[\[matrix\]\] number 1: Invalid enum"),
        ('[[matrix]]\nchannels = { "" = "enabled" }', r"number 1: a Matrix channel's id"),
        ('[[matrix]]\nencryption_of = { "" = "required" }', r"number 1: an app_id must"),
        ("[[matrix]]\nencryption = 1", r"\[\[matrix\]\] number 1: Expected"),
        ("[apps]\nid = 1", r"apps must be a list of tables"),
        ("keys = [1]", r"keys must be a list of tables"),
    ],
)
def test_refusals_name_file_key_and_what_would_do(tmp_path: Path, text: str, words: str) -> None:
    said = refusal(tmp_path, text)
    assert said.startswith(str(tmp_path / "tidelog.toml"))
    assert re.search(words, said), said


def test_a_refused_key_is_not_repeated(tmp_path: Path) -> None:
    said = refusal(tmp_path, '[[keys]]\nkey = "no-dot-hush:hush"')
    assert "malformed" in said
    assert "hush" not in said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_text("#" * 1_100_000)
    with pytest.raises(ConfigError, match="larger than"):
        load(tmp_path / "large.toml")


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("TIDELOG_SERVER_PORT", "tcp://10.0.0.1:80", "TIDELOG_SERVER_PORT must be an integer"),
        ("TIDELOG_SERVER_PRT", "1", "TIDELOG_SERVER_PRT is not a setting"),
        ("TIDELOG_SANDBOX", "maybe", "TIDELOG_SANDBOX must be true or false"),
    ],
)
def test_bad_variables(variable: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(environment={variable: text})


def test_variables_of_others_are_listed_not_refused() -> None:
    """Kubernetes makes TIDELOG_PORT for a service of that name, our test suite TIDELOG_KILLS."""
    found = load(environment={"TIDELOG_PORT": "tcp://10.0.0.1:80", "TIDELOG_KILLS": "9", "X": "1"})
    assert found.unused == ("TIDELOG_KILLS", "TIDELOG_PORT")


def test_bad_flags() -> None:
    with pytest.raises(ConfigError, match=r"command line: server\.prt is not a setting"):
        load(flags={"server.prt": "1"})
    with pytest.raises(ConfigError, match=r"command line: server\.port must be an integer"):
        load(flags={"server.port": "x"})


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    named = written(tmp_path, "[server]\nport = 7")
    assert load(environment={"TIDELOG_CONFIG": str(named)}).server.port == 7


DECLARED = """
[[apps]]
id = "shop"
name = "the shop"
limits = { messages_per_s = 9, connections_max = 7 }

[[keys]]
key = "shop.web:hush-hush"
capability = '{"orders:*":["publish"]}'

[[namespaces]]
app = "shop"
id = "orders"
retention_ms = 0
identified = true
"""


def declared(tmp_path: Path) -> Configuration:
    return load(written(tmp_path, DECLARED), environment={"TIDELOG_KEY": "a.env:s"}, key="a.flag:s")


def test_declarations(tmp_path: Path) -> None:
    found = declared(tmp_path).declared
    assert [(app.id, app.name) for app in found.apps] == [("shop", "the shop")]
    assert [key.key for key in found.keys] == ["shop.web:hush-hush", "a.env:s", "a.flag:s"]
    capabilities = [key.capability for key in found.keys]
    assert capabilities == ['{"orders:*":["publish"]}', ROOT_CAPABILITY, ROOT_CAPABILITY]
    (limits,) = [app.limits for app in found.apps]
    assert limits is not None
    assert limits.plain == Limits(messages_per_s=9, connections_max=7)
    (namespace,) = found.namespaces
    assert (namespace.app, namespace.id) == ("shop", "orders")
    assert namespace.rules == NamespaceRules(retention_ms=0, identified=True)


def test_declared_keys_are_not_in_a_repr(tmp_path: Path) -> None:
    assert "hush" not in repr(declared(tmp_path))


def test_the_reference_is_what_the_code_says() -> None:
    """`tidelog config --reference > docs/settings.md` makes it so."""
    written_down = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert inside("config", "--reference").out == written_down
    rows = [line for line in written_down.splitlines() if "| `TIDELOG_" in line]
    assert len([row for row in rows if row.count(" | ") == 5]) == len(SETTINGS)


def test_the_reference_does_not_look_at_the_machine(tmp_path: Path) -> None:
    plain = inside("config", "--reference").out
    environment = {"TIDELOG_SERVER_PORT": "9", "TIDELOG_CONFIG": str(tmp_path / "none")}
    assert inside("config", "--reference", **environment).out == plain


def test_the_environment_sets_each_setting_of_a_running_command() -> None:
    """What a container has: no file, no flags."""
    given = {"TIDELOG_SERVER_TRUSTED_PROXIES": "10.0.0.0/8, ::1/128", "TIDELOG_SANDBOX": "yes"}
    found = {one["name"]: one for one in inside("config", "--json", **given).json["settings"]}
    assert found["server.trusted_proxies"]["value"] == ["10.0.0.0/8", "::1/128"]
    assert (found["sandbox"]["value"], found["sandbox"]["origin"]) == (True, "env")
    assert found["data"]["origin"] == "default"
