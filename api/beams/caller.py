"""Requests of servers: they carry the secret key of an instance, and their rate is limited.

The key is compared in constant time. Requests with a wrong key do not count for the limit, so that
strangers cannot lock out the owner of the instance; nor do they count in the app's statistics.
"""

import hmac

import trio

from api.authentication import authorization
from api.beams.errors import (
    BAD_KEY,
    INSTANCE_NOT_FOUND,
    NO_AUTHORIZATION,
    TOO_MANY_REQUESTS,
    BeamsError,
)
from api.beams.paths import instance_id
from api.request_counting import of_app
from broker import Broker
from broker.beams.instances import Instance
from broker.limits.buckets import Buckets

REQUESTS_PER_SECOND = 100
INSTANCES_MAX = 10_000  # whose requests are counted


class Callers:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._buckets = Buckets(burst_s=1, buckets_max=INSTANCES_MAX)

    def instance(self, segment: str) -> Instance:
        """The instance that the path names, of whoever calls. Raises BeamsError."""
        id_ = instance_id(segment)
        scheme, key = authorization()
        if not scheme:
            raise BeamsError(NO_AUTHORIZATION)
        found = self._broker.beams.instance(id_)
        if found is None:
            raise BeamsError(INSTANCE_NOT_FOUND)
        is_key = hmac.compare_digest(key.encode(), found.secret.encode())
        if scheme != "bearer" or not is_key:
            raise BeamsError(BAD_KEY)
        of_app(found.app)
        if self._buckets.try_take(found.id, 1, REQUESTS_PER_SECOND, trio.current_time()):
            raise BeamsError(TOO_MANY_REQUESTS)
        return found
