"""CORS on every answer, whoever gives it: the outermost layer, outside of the framework's own.

Without its headers a browser shows a page nothing of an answer, neither why it was refused nor
that it may try again.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "POST", "OPTIONS")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "X-Correlation-ID",
    "If-None-Match",
    "Last-Event-ID",
)
EXPOSED_HEADERS = (
    "X-Correlation-ID",
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
)
MAX_AGE_SECONDS = 600  # for which a browser asks no more whether it may ask


def allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return the application, which pages of these origins may call with credentials."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        allow_credentials=True,
        max_age=MAX_AGE_SECONDS,
    )
