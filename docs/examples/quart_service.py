"""A Quart app: python quart_service.py DATA has orders posted and read, and pushed to browsers.

Quart-Trio runs it on trio, where the broker is at home; the broker is open around the server.
"""

import signal
import sys
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import request, websocket
from quart_trio import QuartTrio

import broker


def create_app(b: broker.Broker) -> QuartTrio:
    app = QuartTrio("orders")
    orders = b.channel("orders")

    @app.errorhandler(broker.BrokerError)
    async def refuse(error: broker.BrokerError) -> tuple[dict[str, Any], int]:
        return {"error": error.info}, error.status

    @app.put("/orders/<number>")
    async def put(number: str) -> tuple[dict[str, str], int]:
        published = await orders.publish("created", await request.json, id=f"order-{number}")
        return {"serial": published.serials[0] or ""}, 201

    @app.get("/orders")
    async def get() -> list[str]:
        page = await orders.history(direction="forwards")
        return [str(message.data) for message in page.messages]

    @app.websocket("/orders/live")
    async def live() -> None:
        async with orders.subscribe(rewind=10) as messages:
            async for message in messages:
                await websocket.send(str(message.data))

    return app


async def main(path: str) -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def told_to_stop() -> None:
            await anext(signals)

        async with broker.open(path) as b:
            await serve(create_app(b), config, shutdown_trigger=told_to_stop)


trio.run(main, sys.argv[1])
