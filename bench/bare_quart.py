"""The limit of `define`: a Quart route that does nothing, on plain Hypercorn and uvloop."""

import sys

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response

app = Quart(__name__)


@app.post("/")
async def answer() -> Response:
    """Answer at once."""
    return Response(b"{}", content_type="application/json")


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    uvloop.run(serve(app, config))
