"""A service on trio: python trio_service.py DATA answers orders, and serves those who send them.

Clients publish to `orders`, with an Ably SDK or curl, and hear from `receipts`. A receipt has an id
made of the order's, so that an order which is worked on again, after a crash, has one receipt.
"""

import signal
import sys

import trio

import broker
from api.serving import serve_in
from api.settings import ServerSettings


async def work(
    b: broker.Broker, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    receipts = b.channel("receipts")
    async with b.channel("orders").subscribe(rewind=1000) as orders:
        task_status.started()
        async for order in orders:
            await receipts.publish("receipt", order.data, id=f"receipt-{order.id}")


async def main(path: str) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with broker.open(path) as b, trio.open_nursery() as nursery:
            await nursery.start(work, b)
            server = await serve_in(nursery, b, ServerSettings(port=0))
            key = b.apps.keys(b.default_app())[0].string
            print(f"http://127.0.0.1:{server.port} {key}", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


trio.run(main, sys.argv[1])
