"""`[meta]log:push`: what became of notifications that did not arrive, told to those who look
(reference push.md 3.7). Bounded in rate, as `[meta]log` is.
"""

from broker.live.app_log import AppLog
from broker.push.events import Device
from broker.push.transport import Result

LOG = "log:push"
NAME = "push"


class Reports:
    def __init__(self, app_log: AppLog) -> None:
        self._app_log = app_log

    def failed(self, app: str, publish: str, device: Device | None, result: Result) -> None:
        """`publish`: its serial, as messages have them."""
        told = {
            "code": result.code,
            "message": result.message,
            "verdict": result.verdict.value,
            "publish": publish,
        }
        if device is not None:
            told |= {"deviceId": device.id, "transport": device.transport, "state": device.state}
        self._app_log.tell(app, LOG, NAME, told)
