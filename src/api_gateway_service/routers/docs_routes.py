"""The documentation, for people, with nothing from outside: it works where there is no internet."""

from functools import cache
from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from api_gateway_service.openapi_texts import TITLE
from api_gateway_service.routing import ASSETS

OPENAPI_URL = "/openapi.json"
ASSET_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "favicon.png": "image/png",
}
# The pages begin with a script of their own; ReDoc searches in a worker, and would show its maker's
# picture from the internet.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASSET_AGE = "public, max-age=3600"

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def swagger() -> Response:
    """Show the API so that it can be tried out."""
    page = get_swagger_ui_html(
        openapi_url=OPENAPI_URL,
        title=TITLE,
        swagger_js_url=_asset("swagger-ui-bundle.js"),
        swagger_css_url=_asset("swagger-ui.css"),
        swagger_favicon_url=_asset("favicon.png"),
        swagger_ui_parameters={"validatorUrl": None},  # it would ask a site on the internet
    )
    return _guarded(page)


@router.get("/redoc")
async def redoc() -> Response:
    """Show the API so that it can be read."""
    page = get_redoc_html(
        openapi_url=OPENAPI_URL,
        title=TITLE,
        redoc_js_url=_asset("redoc.standalone.js"),
        redoc_favicon_url=_asset("favicon.png"),
        with_google_fonts=False,
    )
    return _guarded(page)


@router.get(ASSETS)
async def asset(name: str) -> Response:
    """Show what the pages are made of."""
    media_type = ASSET_TYPES.get(name)
    if media_type is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {"Cache-Control": ASSET_AGE, "X-Content-Type-Options": "nosniff"}
    return Response(_read(name), headers=headers, media_type=media_type)


@router.get(OPENAPI_URL)
async def openapi(request: Request) -> Response:
    """Show how to call the routes."""
    return JSONResponse(request.app.openapi())


@cache
def _read(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()


def _asset(name: str) -> str:
    return ASSETS.format(name=name)


def _guarded(page: HTMLResponse) -> Response:
    page.headers["Content-Security-Policy"] = POLICY
    return page
