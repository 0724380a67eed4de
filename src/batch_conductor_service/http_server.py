"""Serving over HTTP: the application's start, the connections while it runs, and its end."""

import asyncio
from collections.abc import Awaitable, Callable

from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import wrap_app

from batch_conductor_service.connections import Connections
from batch_conductor_service.listener import Listener


async def serve_http(
    app: ASGIFramework,
    config: Config,
    listener: Listener,
    *,
    max_connections: int,
    until: Callable[[Connections], Awaitable[None]],
) -> None:
    """Serve until the given wait is over.

    What is being answered then has the config's graceful time; after it the application stops.

    Raises:
        LifespanFailureError: the application could not start, or did not stop cleanly.
    """
    loop = asyncio.get_running_loop()
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, loop, LifespanState({}))
    running = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if running.done():
        running.result()
    connections = Connections(wrapped, config, max_connections)
    accepting = loop.create_task(connections.accept(listener))
    try:
        await until(connections)
    finally:
        accepting.cancel()
        await asyncio.wait({accepting})
        await connections.finish(config.graceful_timeout)
        await lifespan.wait_for_shutdown()
        running.cancel()
        await running
