"""The gateway's application on a socket of this process, without `api-gateway serve` around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from api_gateway_service.server.connections import Connections
from service_libs.http.listener import Listener


@asynccontextmanager
async def served(app: ASGIApp, max_connections: int = 1000) -> AsyncIterator[int]:
    """Serve on the gateway's own connections; give the port."""
    listener = Listener("127.0.0.1", 0, settings="the address")
    config = uvicorn.Config(
        app,
        http=Connections(max_connections).make,  # type: ignore[arg-type] # called as a class is
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener.socket])
    try:
        yield listener.port
    finally:
        await server.shutdown([listener.socket])
        listener.close()
