"""A broker in this process with a channel whose messages can change, and who may do anything to
them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import broker
from bench.acknowledged import payload
from broker import Broker
from broker.apps import ROOT_CAPABILITY
from broker.auth import capability
from broker.auth.credentials import Principal
from broker.tenancy import NamespaceRules

NAMESPACE = "mutable"
CHANNEL = f"{NAMESPACE}:bench"


@asynccontextmanager
async def mutable(path: Path) -> AsyncIterator[Broker]:
    async with broker.open(path) as opened:
        rules = NamespaceRules(mutable_messages=True)
        await opened.apps.set_namespace(opened.default_app(), NAMESPACE, rules)
        yield opened


def everything(opened: Broker) -> Principal:
    permitted = capability.parse(ROOT_CAPABILITY)
    return Principal(app_id=opened.default_app(), key_name="(bench)", capability=permitted)


async def publish(opened: Broker) -> str:
    """One message of number 0; its serial."""
    published = await opened.channel(CHANNEL).publish("e", payload(0))
    (serial,) = published.serials
    assert serial is not None
    return serial
