"""The access token of FCM: an assertion is signed for it, and it serves for most of its time.

OAuth 2.0 JWT bearer grant (RFC 7523) with RS256, to the token endpoint of the service account.
Whoever needs a token while one is fetched waits for that one.

Fault model: network trouble, 429 and 5xx are TRANSIENT, as NotSent; any other refusal means that
the account is not accepted. Refuses to put into an error what the endpoint said.
"""

from urllib.parse import urlencode

import jwt

from api.push.client import Poster
from api.push.key_files import ServiceAccount
from api.push.outcome import NOT_ACCEPTED, UNAVAILABLE, NotSent
from api.push.reply import Reply, reason
from api.push.single_flight import SingleFlight
from broker.clock import Clock

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
ASSERTION_S = 3_600
EARLY_MS = 60_000
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_BUSY = frozenset({408, 429})


class AccessToken:
    def __init__(self, account: ServiceAccount, client: Poster, clock: Clock) -> None:
        self._account = account
        self._client = client
        self._clock = clock
        self._token = ""
        self._until_ms = 0
        self._fetch = SingleFlight(self._fetched)

    async def current(self) -> str:
        """Raises NotSent."""
        if self._token and self._clock() < self._until_ms:
            return self._token
        return await self._fetch()

    async def after(self, refused: str) -> str:
        """A token other than the one that was refused. Raises NotSent."""
        if self._token == refused:
            self._token = ""
        return await self.current()

    async def _fetched(self) -> str:
        form = urlencode({"grant_type": GRANT, "assertion": self._assertion()}).encode()
        reply = await self._client.post(self._account.token_url, _FORM, form)
        granted = reply.json()
        token, seconds = granted.get("access_token"), granted.get("expires_in")
        if reply.status != 200 or not _is_token(token) or not isinstance(seconds, int):
            raise _refused(reply, self._clock())
        assert isinstance(token, str)
        self._until_ms = self._clock() + seconds * 1_000 - EARLY_MS
        self._token = token
        return token

    def _assertion(self) -> str:
        now_s = self._clock() // 1_000
        claims = {
            "iss": self._account.client_email,
            "scope": SCOPE,
            "aud": self._account.token_url,
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }
        headers = {"kid": self._account.key_id}
        return jwt.encode(claims, self._account.key, algorithm="RS256", headers=headers)


def _is_token(token: object) -> bool:
    """It goes into a header."""
    return isinstance(token, str) and token.isascii() and token.isprintable() and token != ""


def _refused(reply: Reply, now_ms: int) -> NotSent:
    name = reason(reply.json().get("error"))
    said = f"the token endpoint answered {reply.status} {name}".rstrip()
    if reply.status in _BUSY or reply.status >= 500 or reply.status == 200:
        return NotSent(UNAVAILABLE.result(said, reply.retry_after_ms(now_ms)))
    return NOT_ACCEPTED.because(said)
