"""Mosquitto, as durable as it can be made, which is not very.

It keeps sessions and what waits for them in memory, and writes all of that to its database file
now and then: every second here, the shortest that does not rewrite the file at each message.
Nothing connects that to an acknowledgement, and its author says so. It drops what a subscriber at
QoS 1 has not taken when more than 1,000 wait, unless told otherwise, as it is here: with that limit
a subscriber that lags is not slow but loses messages.
"""

from pathlib import Path

from bench.load.driver import Address, Driver
from bench.load.peers.local import LocalPeer
from bench.realtime.wires import LOOPBACK

_CONFIGURATION = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {work}/
autosave_interval 1
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type error
log_type warning
user root
"""  # user: that to become when started by root; it could not write to `work` as another


class MosquittoPeer(LocalPeer):
    name = "mosquitto"
    drivers = ("mqtt",)
    settings = "persistence true, autosave_interval 1, no limits on what waits for a subscriber"
    program = "mosquitto"
    package = "mosquitto"
    client = "gmqtt"
    version_option = "-h"
    hello = bytes.fromhex("100d00044d51545404020005000161")  # CONNECT of MQTT 3.1.1, as "a"
    answer = bytes.fromhex("20020000")  # CONNACK: accepted

    def arguments(self, work: Path, port: int) -> list[str]:
        path = work / "mosquitto.conf"
        path.write_text(_CONFIGURATION.format(host=LOOPBACK, port=port, work=work))
        return ["-c", str(path)]

    def driver(self, name: str, address: Address) -> Driver:
        from bench.load.drivers.mqtt import Mqtt  # needs the client library

        return Mqtt(address)


PEER = MosquittoPeer()
