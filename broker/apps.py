"""Administration of a broker: its apps, their keys, namespaces and limits. Also the keyring that
credentials are checked against.

Look-ups read the projection, so what a command created is there when the command has returned.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from broker import administration, randomness, tenancy
from broker.administration import Fixture
from broker.auth import revocations
from broker.auth.credentials import Key, Principal, parse_key
from broker.errors import NotFound
from broker.tenancy import App, Limits, NamespaceRules
from storage import Outcome, Rows

KEYS_KNOWN_MAX = 1_000
ROOT_CAPABILITY = '{"[*]*":["*"]}'
DEFAULT_CAPABILITY = '{"*":["*"]}'
Submit = Callable[..., Awaitable[Outcome]]
Purge = Callable[[], Awaitable[None]]
View = Callable[[], AbstractContextManager[Rows]]


class NewKey(msgspec.Struct, frozen=True):
    """A key to be made; its id and its secret are the broker's to choose."""

    granted: str = DEFAULT_CAPABILITY
    revocable_tokens: bool = False


class Apps:
    """What `tidelog apps|keys|namespaces` do, in process."""

    def __init__(self, submit: Submit, rows: View, purge: Purge) -> None:
        self._submit = submit
        self._rows = rows
        self._purge = purge
        self._keys: dict[tuple[str, str], Key] = {}
        self._apps: set[str] = set()

    def forget(self) -> None:
        """The system log has changed: what was looked up may be otherwise now."""
        self._keys.clear()
        self._apps.clear()

    def list(self) -> list[App]:
        with self._rows() as rows:
            return tenancy.apps(rows)

    def key(self, app_id: str, key_id: str) -> Key | None:
        """The key, revoked ones too (broker.auth.credentials.Keyring)."""
        found = self._keys.get((app_id, key_id))
        if found is not None:
            return found
        with self._rows() as rows:
            found = tenancy.key(rows, app_id, key_id)
        if found is not None:
            if len(self._keys) >= KEYS_KNOWN_MAX:
                self.forget()
            self._keys[app_id, key_id] = found
        return found

    def app_exists(self, app_id: str) -> bool:
        if app_id in self._apps:
            return True
        with self._rows() as rows:
            found = tenancy.app_exists(rows, app_id)
        if found and len(self._apps) < KEYS_KNOWN_MAX:
            self._apps.add(app_id)
        return found

    def revoked_from(self, principal: Principal) -> int | None:
        """From when on (ms) its token is refused; None if it was not revoked."""
        with self._rows() as rows:
            return revocations.revoked_from(rows, principal)

    def keys(self, app: str) -> Sequence[Key]:
        with self._rows() as rows:
            return tenancy.keys(rows, app)

    def namespaces(self, app: str) -> dict[str, NamespaceRules]:
        with self._rows() as rows:
            return tenancy.namespaces(rows, app)

    async def create(
        self, app: str | None = None, *, name: str = "", with_root_key: bool = True
    ) -> App:
        """A new app. Raises BadRequest when the id is taken or malformed."""
        app = app or randomness.short_id()
        await self._run(administration.CreateApp(app, name), app)
        if with_root_key:
            await self.create_key(app, granted=ROOT_CAPABILITY)
        with self._rows() as rows:
            created = tenancy.app(rows, app)
        assert created is not None
        return created

    async def provision(
        self,
        keys: Sequence[NewKey],
        namespaces: Sequence[tuple[str, NamespaceRules]] = (),
        fixtures: Sequence[Fixture] = (),
        *,
        presence_members_max: int | None = None,
    ) -> tuple[App, Sequence[Key]]:
        """A new app with all it begins with, and its keys in the order asked for: all of it, or an
        error and nothing."""
        app = randomness.short_id()
        command = administration.ProvisionApp(
            app,
            tuple(_creation(app, key) for key in keys),
            tuple(administration.SetNamespace(app, *namespace) for namespace in namespaces),
            tuple(fixtures),
            presence_members_max,
        )
        await self._run(command, app)
        with self._rows() as rows:
            created = tenancy.app(rows, app)
        assert created is not None
        return created, [self._existing(app, key.key) for key in command.keys]

    async def delete(self, app: str) -> None:
        """Delete an app, its keys and namespaces, and all that its channels hold."""
        await self._run(administration.DeleteApp(app), app)
        await self._purge()

    async def create_key(
        self, app: str, *, granted: str = DEFAULT_CAPABILITY, revocable_tokens: bool = False
    ) -> Key:
        """A new key with a random secret. `granted`: its capability as JSON."""
        command = _creation(app, NewKey(granted, revocable_tokens))
        await self._run(command, app)
        return self._existing(app, command.key)

    async def ensure_key(self, text: str, *, granted: str = ROOT_CAPABILITY) -> Key:
        """Make `appId.keyId:secret` work, creating app and key as needed: how configuration is
        reconciled. Raises BadRequest when the key exists with another secret or was revoked."""
        wanted = parse_key(text)
        await self._run(administration.CreateApp(wanted.app_id, keep=True), wanted.app_id)
        command = administration.CreateKey(
            wanted.app_id, wanted.key_id, wanted.secret, granted, keep=True
        )
        await self._run(command, wanted.app_id)
        return self._existing(wanted.app_id, wanted.key_id)

    async def revoke_key(self, app: str, key: str) -> None:
        await self._run(administration.RevokeKey(app, key), app)

    async def set_namespace(self, app: str, namespace: str, rules: NamespaceRules) -> None:
        await self._run(administration.SetNamespace(app, namespace, rules), app)

    async def remove_namespace(self, app: str, namespace: str) -> None:
        await self._run(administration.RemoveNamespace(app, namespace), app)

    def limits(self, app: str, key: str | None = None) -> Limits:
        """Of an app, or of one of its keys (by its key id)."""
        with self._rows() as rows:
            return tenancy.limits(rows, app, key or "")

    async def set_limits(self, app: str, limits: Limits, *, key: str | None = None) -> None:
        """All of them: what is None is as the settings say. Raises BadRequest, NotFound."""
        await self._run(administration.SetLimits(app, key, limits), app)

    async def _run(self, command: Any, app: str) -> None:
        try:
            await self._submit(command, app=app)
        finally:
            self.forget()

    def _existing(self, app: str, key: str) -> Key:
        found = self.key(app, key)
        if found is None:
            raise NotFound(f"there is no key {app}.{key}")
        return found


def _creation(app: str, key: NewKey) -> administration.CreateKey:
    key_id, secret = randomness.short_id(), randomness.new_secret()
    return administration.CreateKey(app, key_id, secret, key.granted, key.revocable_tokens)
