"""What servers and devices are told when it is our fault: a log that takes no writes."""

from pathlib import Path

from broker import BrokerSettings
from storage import LogSettings
from tests.api.beams.beams_server import BROKEN, ID, refused
from tests.api.beams.publishing import HELLO, Publishing, publishing
from tests.broker.acting import Time


async def calls(beams: Publishing) -> list[tuple[int, str, str]]:
    return [
        refused(reply)
        for reply in (
            await beams.publish("", {"interests": ["a"], "web": HELLO}),
            await beams.publish("/interests", {"interests": ["a"], "web": HELLO}),
            await beams.publish("/users", {"users": ["u"], "web": HELLO}),
            await beams.call("DELETE", f"/customer_api/v1/instances/{ID}/users/u"),
            await beams.call("DELETE", f"/user_api/v1/instances/{ID}/users/u"),
            await beams.report(),
        )
    ]


async def test_a_log_that_takes_nothing_is_our_fault(
    tmp_path: Path, time: Time, may_log: set[str]
) -> None:
    may_log.add("tidelog.http")
    async with publishing(tmp_path, time) as beams:
        await beams.device("web-1", "a", user="u")
    full = BrokerSettings(log=LogSettings(max_bytes=1))
    async with publishing(tmp_path, time, settings=full) as beams:
        assert await calls(beams) == [BROKEN] * 6
        assert beams.devices() == {"web-1"}
        assert beams.unfinished() == []
