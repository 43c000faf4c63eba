"""FastAPI on asyncio: python fastapi_service.py DATA has orders posted, read and followed.

The app's lifespan is the broker's. Any ASGI server runs `create_app(path)`; Hypercorn is there
already, for Tidelog needs it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from hypercorn.asyncio import serve
from hypercorn.config import Config

import broker
import broker.aio


def create_app(path: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with broker.aio.open(path) as b:
            app.state.orders = b.channel("orders")
            yield

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(broker.BrokerError)
    async def refuse(_: object, error: broker.BrokerError) -> JSONResponse:
        return JSONResponse({"error": error.info}, error.status)

    @app.put("/orders/{number}", status_code=201)
    async def put(number: int, order: dict[str, Any]) -> dict[str, str | None]:
        published = await app.state.orders.publish("created", order, id=f"order-{number}")
        return {"serial": published.serials[0]}

    @app.get("/orders")
    async def get(limit: int = 100) -> list[str]:
        page = await app.state.orders.history(direction="forwards", limit=limit)
        return [str(message.data) for message in page.messages]

    @app.get("/orders/live")
    async def live() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    async def events() -> AsyncIterator[str]:
        async with app.state.orders.subscribe(rewind=10) as messages:
            async for message in messages:
                yield f"data: {message.data}\n\n"

    return app


if __name__ == "__main__":
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 1.0  # seconds that a stream may go on when it is told to stop
    asyncio.run(serve(create_app(sys.argv[1]), config))  # type: ignore[arg-type]
