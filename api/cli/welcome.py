"""What `tidelog serve` prints when it is ready: where it is, and lines to paste.

The key is printed when it was just made, and to a terminal. Otherwise standard output is probably
kept somewhere, and the key is named only.
"""

import shlex
import sys
from typing import NamedTuple

from api.server import Ready
from api.version import tidelog_version
from broker.auth.credentials import Key

EVERY_INTERFACE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - shown, not bound
CHANNEL = "demo"

HEAD = """\
Tidelog {version} is listening on {url}
  data   {data}
  app    {app}
  key    {key}
"""
LINES = """\
Publish a message, and read it back:
  curl {trust}-u {curl_key} -H {json} -d '{body}' {url}/channels/{channel}/messages
  curl {trust}-u {curl_key} {url}/channels/{channel}/messages

JavaScript (npm install ably):
  const ably = new Ably.Realtime({{ key: '{key}', endpoint: '{host}', {js_port} }});
  const channel = ably.channels.get('{channel}');
  await channel.subscribe(message => console.log(message.name, message.data));
  await channel.publish('greeting', 'hello');

Python (pip install ably):
"""
PYTHON_TLS = """\
  async with AblyRest(key='{key}', endpoint='{host}', tls_port={port}) as ably:
      await ably.channels.get('{channel}').publish('greeting', 'hello')
"""
PYTHON_PLAIN = """\
  ably-python sends API keys over TLS only: start with --tls-dev (or --tls-cert and --tls-key), or
  give it a JWT: AblyRest(token=..., endpoint='{host}', port={port}, tls=False)
"""
NO_KEY = "(there is none: `tidelog keys create` makes one)"
HIDDEN_KEY = "{name}  (whole: `tidelog keys list --data {data}`)"


class _Shown(NamedTuple):
    """The key as the text shows it, and as it stands in the lines to paste."""

    head: str
    pasted: str


def welcome(ready: Ready, is_new: bool) -> str:
    """The whole text. `is_new`: the data directory was empty before this start."""
    data = str(ready.configuration.data.absolute())
    key = _key(ready)
    shown = _shown(key, data, whole=is_new or sys.stdout.isatty())
    names = _names(ready) | {"data": data, "key": shown.pasted}
    head = HEAD.format_map(names | {"key": shown.head, "app": key.app_id if key else "-"})
    return "\n".join([head, _lines(ready, names)]).rstrip()


def _key(ready: Ready) -> Key | None:
    """The first declared key, else the first of the oldest app that works."""
    apps = ready.broker.apps
    for declared in ready.configuration.declared.keys:
        app_id, _, key_id = declared.key.partition(":")[0].partition(".")
        return apps.key(app_id, key_id)
    found = (key for app in apps.list() for key in apps.keys(app.id) if not key.revoked)
    return next(found, None)


def _shown(key: Key | None, data: str, *, whole: bool) -> _Shown:
    if key is None:
        return _Shown(NO_KEY, "APP.KEY:SECRET")
    if whole:
        return _Shown(key.string, key.string)
    return _Shown(HIDDEN_KEY.format(name=key.name, data=data), f"{key.name}:SECRET")


def _names(ready: Ready) -> dict[str, str]:
    host = ready.configuration.server.host
    host = "localhost" if host in EVERY_INTERFACE or ready.certificate else host
    in_url = f"[{host}]" if ":" in host else host
    port = str(ready.port)
    trust = f"--cacert {shlex.quote(str(ready.certificate.ca_file))} " if ready.certificate else ""
    return {
        "version": tidelog_version(),
        "host": host,
        "port": port,
        "url": f"{'https' if ready.is_tls else 'http'}://{in_url}:{port}",
        "trust": trust,
        "js_port": f"tlsPort: {port}" if ready.is_tls else f"port: {port}, tls: false",
        "channel": CHANNEL,
        "json": "'Content-Type: application/json'",
        "body": '{"name":"greeting","data":"hello"}',
    }


def _lines(ready: Ready, names: dict[str, str]) -> str:
    names = names | {"curl_key": shlex.quote(names["key"])}
    python = PYTHON_TLS if ready.is_tls else PYTHON_PLAIN
    trust = (
        ready.certificate.how_to_trust.replace("PORT", names["port"]) if ready.certificate else ""
    )
    text = LINES.format_map(names) + python.format_map(names)
    return f"{text}\n{trust}" if trust else text
