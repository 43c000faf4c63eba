"""Making true what the configuration declares: at the start, and when it is read again.

What is declared is made, and changed where it can be; what is not declared any more stays: a line
lost from a file must not take an app with it. What cannot be made true is found first, so that
nothing is half done.
"""

import logging
from collections.abc import Iterator

from api.admin.operations.beams import check_url
from api.config import Declarations
from api.config.declared import DeclaredInstance, DeclaredMatrix, webhook_of
from broker import BadRequest, Broker, NotFound
from broker.administration import check_id, check_namespace, check_secret
from broker.auth import capability
from broker.auth.credentials import parse_key

logger = logging.getLogger("tidelog.server")


async def reconcile(opened: Broker, declared: Declarations) -> None:
    """Make what is declared exist; what exists already with the same content is left alone. What
    cannot be made true is refused before anything is changed. Raises BadRequest, NotFound."""
    _check(opened, declared)
    apps = opened.apps
    keyed = {key.key.partition(".")[0] for key in declared.keys}
    for app in declared.apps:
        if not apps.app_exists(app.id):
            await apps.create(app.id, name=app.name, with_root_key=app.id not in keyed)
        if app.limits is not None:
            await apps.set_limits(app.id, app.limits.plain)
    for key in declared.keys:
        known = await apps.ensure_key(key.key, granted=key.capability)
        if known.capability != capability.parse(key.capability):
            logger.warning("key %s keeps its capability, which is not the declared one", known.name)
        if key.limits is not None:
            await apps.set_limits(known.app_id, key.limits.plain, key=known.key_id)
    for namespace in declared.namespaces:
        app_id = namespace.app or opened.default_app()
        await apps.set_namespace(app_id, namespace.id, namespace.rules)
    for beams in declared.beams:
        await _reconcile_beams(opened, beams)
    for rules in declared.matrix:
        await _reconcile_matrix(opened, rules)


async def _reconcile_beams(opened: Broker, declared: DeclaredInstance) -> None:
    app_id = declared.app or opened.default_app()
    await opened.beams.ensure(app_id, declared.instance, declared.secret)
    for hook in declared.webhooks:
        await opened.beams.put_webhook(webhook_of(app_id, declared.instance, hook))


async def _reconcile_matrix(opened: Broker, declared: DeclaredMatrix) -> None:
    app_id = declared.app or opened.default_app()
    if not opened.apps.app_exists(app_id):
        raise NotFound(f"there is no app {app_id!r}")
    if declared.channels is not None:
        await opened.matrix.set_channels(app_id, declared.channels)
    if declared.encryption is not None:
        await opened.matrix.set_encryption(app_id, declared.encryption)
    for name, rule in declared.encryption_of.items():
        await opened.matrix.set_encryption(app_id, rule, name)


def _check(opened: Broker, declared: Declarations) -> None:
    for hook in (hook for beams in declared.beams for hook in beams.webhooks):
        check_url(hook.url)
    for app in declared.apps:
        check_id(app.id, "app id")
    for key in declared.keys:
        _check_key(opened, key.key)
    for namespace in declared.namespaces:
        check_namespace(namespace.id)
    there = {app.id for app in opened.apps.list()} | {app.id for app in declared.apps}
    there |= {parse_key(key.key).app_id for key in declared.keys}
    for named in _named(declared):
        if named not in there:
            raise NotFound(f"there is no app {named!r}")


def _named(declared: Declarations) -> Iterator[str]:
    """Apps that have to be there, or be declared."""
    for table in (declared.namespaces, declared.beams, declared.matrix):
        yield from (item.app for item in table if item.app is not None)


def _check_key(opened: Broker, text: str) -> None:
    wanted = parse_key(text)
    check_id(wanted.app_id, "app id")
    check_id(wanted.key_id, "key id")
    check_secret(wanted.secret)
    known = opened.apps.key(wanted.app_id, wanted.key_id)
    if known is None or (known.secret == wanted.secret and not known.revoked):
        return
    why = "it was revoked" if known.revoked else "it has another secret"
    raise BadRequest(f"key {known.name} cannot be declared: {why}")
