"""`tidelog beams`: the instances that SDKs of Pusher Beams know an app by.

Secret keys are printed whole, for that is what these commands are for; whoever can read the data
directory has them anyway.
"""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.beams_webhooks import command as webhooks
from api.cli.options import app_option, as_json, ask_first, configured, confirmed
from api.cli.output import print_json, print_table
from api.cli.welcome import EVERY_INTERFACE
from api.config import Configuration

MADE = """\
instance          {instance}
secret key        {secretKey}
VAPID public key  {vapidPublicKey}

Web (npm install @pusher/push-notifications-web):
  const client = new PusherPushNotifications.Client({{
    instanceId: '{instance}', endpointOverride: '{url}' }});
  self.PusherPushNotifications.endpointOverride = '{url}';  // in the service worker

Android, in the manifest:
  <meta-data android:name="com.pusher.pushnotifications:override-host-url"
             android:value="{url}/device_api/v1/" />

Python (pip install pusher-push-notifications; it speaks TLS only):
  PushNotifications('{instance}', '{secretKey}', endpoint='{host}:{port}')

Node (npm install @pusher/push-notifications-server; it speaks plain HTTP to an endpoint):
  new PushNotifications({{ instanceId: '{instance}',
    secretKey: '{secretKey}', endpoint: '{host}', port: {port} }})

Go, PHP, Ruby: the base URL, or endpoint, is {url}

iOS, Java, Kotlin and Swift on servers know no other host: docs/beams.md says what to do."""


@click.group("beams")
def command() -> None:
    """List, create and remove instances of Beams, what its SDKs know an app by; and webhooks.

    \b
    Example:
      tidelog beams create
    """


@command.command("create")
@configured
@app_option
@as_json
def create_instance(configuration: Configuration, app: str | None, as_json: bool) -> None:
    """Create the instance of an app, and print it with how to point SDKs at it.

    \b
    Example:
      tidelog beams create --app a1b2c3
    """
    made = ask(configuration, "beams.create", app=app)
    made["vapidPublicKey"] = _vapid_public_key(configuration)
    if as_json:
        print_json(made)
    else:
        click.echo(MADE.format_map(made | _where(configuration)))


@command.command("list")
@configured
@as_json
def list_instances(configuration: Configuration, as_json: bool) -> None:
    """List the instances, with their secret keys.

    \b
    Example:
      tidelog beams list --json
    """
    instances = ask(configuration, "beams.list")
    if as_json:
        print_json(instances)
        return
    rows = [(one["app"], one["instance"], one["secretKey"]) for one in instances]
    print_table(("APP", "INSTANCE", "SECRET KEY"), rows)


@command.command("remove")
@click.argument("instance")
@configured
@confirmed
def remove_instance(configuration: Configuration, instance: str, yes: bool) -> None:
    """Remove INSTANCE and every device that was registered with it, for good.

    \b
    Example:
      tidelog beams remove 8f9a6e22-2483-49aa-8552-125f1a4c5781 --yes
    """
    ask_first(f"Remove instance {instance} and all its devices?", yes)
    ask(configuration, "beams.remove", instance=instance)


command.add_command(webhooks)


def _vapid_public_key(configuration: Configuration) -> str:
    from api.push.transports import public_vapid_key

    return public_vapid_key(configuration.push, configuration.data)


def _where(configuration: Configuration) -> dict[str, Any]:
    """Where a server with this configuration is."""
    host = configuration.server.host
    host = "localhost" if host in EVERY_INTERFACE else host
    in_url = f"[{host}]" if ":" in host else host
    is_tls = configuration.process.tls_dev or bool(configuration.process.tls_cert)
    port = configuration.server.port
    url = f"{'https' if is_tls else 'http'}://{in_url}:{port}"
    return {"host": in_url, "port": port, "url": url}
