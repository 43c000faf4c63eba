"""One app with a key that may do anything, one that may do little, and one that was revoked."""

from broker.auth.capability import DEFAULT_KEY, parse
from broker.auth.credentials import Key, Principal

REVOKED_CLIENT = "a client whose tokens were revoked"
SECRET = "s3cret-of-the-full-key"

FULL = Key(app_id="app", key_id="full", secret=SECRET, capability=DEFAULT_KEY)
NARROW = Key(
    app_id="app",
    key_id="narrow",
    secret="another",
    capability=parse({"orders:*": ["publish", "subscribe"]}),
)
REVOKED = Key(app_id="app", key_id="old", secret="old", capability=DEFAULT_KEY, revoked=True)


class Keys:
    """A keyring of one app."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {(key.app_id, key.key_id): key for key in keys}

    def key(self, app_id: str, key_id: str) -> Key | None:
        return self._keys.get((app_id, key_id))

    def app_exists(self, app_id: str) -> bool:
        return any(known == app_id for known, _ in self._keys)

    def revoked_from(self, principal: Principal) -> int | None:
        """That of one client; see test_revocations.py for the real thing."""
        return 0 if principal.client_id == REVOKED_CLIENT else None


KEYRING = Keys(FULL, NARROW, REVOKED)
