"""A page that uses the API as a React application does; in development only.

It shows that the API is enough for a page, and has no more rights than any other page.
"""

from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api_gateway_service.routing import DEMO, DEMO_FILES

PAGE = "index.html"
FILE_TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "client.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
}
# Nothing from elsewhere, nothing inline, and no form that the browser would send by itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


@router.get(DEMO)
async def page() -> Response:
    """Show the page."""
    headers = HEADERS | {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return Response(_read(PAGE), headers=headers, media_type="text/html; charset=utf-8")


@router.get(DEMO_FILES)
async def file(name: str) -> Response:
    """Show what the page is made of."""
    media_type = FILE_TYPES.get(name)
    if media_type is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return Response(_read(name), headers=HEADERS, media_type=media_type)


def _read(name: str) -> bytes:
    return files("api_gateway_service").joinpath("demo", name).read_bytes()
