"""Keys and certificates, made once; a clock; and each gateway with transports built for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.push.transports import Transports
from tests.api.push import rig
from tests.api.push.authority import Authority, authority
from tests.api.push.rig import Apns, Fcm, Keys, Matrix, Now, Web


@pytest.fixture(scope="session")
def keys() -> Keys:
    return rig.kept_keys()


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
async def apns(tmp_path: Path, keys: Keys, trusted: Authority, now: Now) -> AsyncIterator[Apns]:
    async with rig.apns_gateway(tmp_path, keys, trusted, now) as gateway:
        yield gateway


@pytest.fixture
async def fcm(tmp_path: Path, keys: Keys, trusted: Authority, now: Now) -> AsyncIterator[Fcm]:
    async with rig.fcm_gateway(tmp_path, keys, trusted, now) as gateway:
        yield gateway


@pytest.fixture
async def web(trusted: Authority, now: Now) -> AsyncIterator[Web]:
    async with rig.push_service(trusted, now) as service:
        yield service


@pytest.fixture
async def matrix(trusted: Authority) -> AsyncIterator[Matrix]:
    async with rig.matrix_gateway(trusted) as gateway:
        yield gateway


@pytest.fixture
async def apns_transports(apns: Apns, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built(apns.settings, tmp_path, now) as transports:
        yield transports


@pytest.fixture
async def fcm_transports(fcm: Fcm, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built(fcm.settings, tmp_path, now) as transports:
        yield transports


@pytest.fixture
async def web_transports(web: Web, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built(web.settings, tmp_path, now) as transports:
        yield transports


@pytest.fixture
async def matrix_transports(matrix: Matrix, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built(matrix.settings, tmp_path, now) as transports:
        yield transports
