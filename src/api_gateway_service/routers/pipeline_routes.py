"""What callers are here for: asking for a pipeline, and seeing what becomes of it."""

from typing import Annotated

import orjson
from dishka import FromDishka
from dishka.integrations.fastapi import inject
from fastapi import APIRouter, Header, Path, Request
from pydantic import ValidationError
from starlette.responses import Response

from api_gateway_service import openapi_texts as texts
from api_gateway_service.exceptions import (
    InvalidFieldsError,
    NotJsonError,
    UnsupportedMediaTypeError,
)
from api_gateway_service.middleware.context import RequestContext, context_of
from api_gateway_service.models.errors import field_errors
from api_gateway_service.models.requests import BatchIdText, PipelineRequest
from api_gateway_service.models.responses import BatchStatus, Links, PipelineAccepted
from api_gateway_service.models.values import Principal
from api_gateway_service.routers.event_stream import EventStream
from api_gateway_service.routing import BATCHES, STATUS
from api_gateway_service.services.batch_access import BatchAccess
from api_gateway_service.services.pipeline_requests import Click, PipelineRequests, request_id_of
from api_gateway_service.services.status_feeds import StatusFeeds

JSON = "application/json"
PRIVATE = "private, no-cache"
NOT_MODIFIED = 304  # status
MAX_KEY_LENGTH = 255  # characters
PRINTABLE_KEY = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"

router = APIRouter(prefix=BATCHES, tags=["batches"])

BatchId = Annotated[BatchIdText, Path(description=texts.BATCH_ID)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        pattern=PRINTABLE_KEY,
        description=texts.IDEMPOTENCY_KEY,
    ),
]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description=texts.IF_NONE_MATCH)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description=texts.LAST_EVENT_ID)]


async def request_pipeline(
    request: Request,
    batch_id: BatchId,
    requests: FromDishka[PipelineRequests],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask for a pipeline over a batch."""
    context, principal = _caller(request)
    context.request_id = request_id_of(principal.user_id, idempotency_key)
    click = Click(
        batch_id=batch_id,
        request=await _read_request(request),
        principal=principal,
        correlation_id=context.correlation_id,
        key=idempotency_key,
        request_id=context.request_id,
    )
    record = await requests.send(click)
    context.decision = "accepted"
    location = STATUS.format(batch_id=batch_id)
    accepted = PipelineAccepted(
        message=texts.ACCEPTED_MESSAGE,
        batch_id=batch_id,
        correlation_id=record.correlation_id,
        request_id=click.request_id,
        accepted_at=record.accepted_at,
        links=Links(status=location),
    )
    return Response(accepted.model_dump_json(), 202, {"Location": location}, JSON)


async def show_status(
    request: Request,
    batch_id: BatchId,
    access: FromDishka[BatchAccess],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show how a batch is doing."""
    _, principal = _caller(request)
    view = await access.read_own(batch_id, principal)
    headers = {"ETag": f'"{view.tag}"', "Cache-Control": PRIVATE}
    if if_none_match is not None and _names(if_none_match, view.tag):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return Response(view.body, headers=headers, media_type=JSON)


# Both are answered without the framework, too, which then has nothing to inject.
router.post("/{batch_id}/pipelines", status_code=202, response_model=PipelineAccepted)(
    inject(request_pipeline)
)
router.get("/{batch_id}/status", response_model=BatchStatus)(inject(show_status))


@router.get("/{batch_id}/events", response_class=Response)
@inject
async def stream_events(
    request: Request,
    batch_id: BatchId,
    access: FromDishka[BatchAccess],
    feeds: FromDishka[StatusFeeds],
    last_event_id: LastEventId = None,
) -> Response:
    """Show how a batch is doing, again each time that changes."""
    _, principal = _caller(request)
    await access.read_own(batch_id, principal)
    return EventStream(
        feeds.listening(batch_id, principal),
        last_event_id=last_event_id,
        expires_at=principal.expires_at,
    )


def _caller(request: Request) -> tuple[RequestContext, Principal]:
    context = context_of(request.scope)
    if context.principal is None:
        raise RuntimeError("a route below /v1 was reached without authentication")
    return context, context.principal


async def _read_request(request: Request) -> PipelineRequest:
    """Return the body.

    Raises:
        UnsupportedMediaTypeError: it is not said to be JSON.
        NotJsonError: it is not.
        InvalidFieldsError: it is, and says something else.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise UnsupportedMediaTypeError
    try:
        # Stricter than Python's own: no NaN, no lone surrogates, no endless nesting.
        content = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise NotJsonError from None
    try:
        return PipelineRequest.model_validate(content)
    except ValidationError as exc:
        raise InvalidFieldsError(field_errors(exc)) from None


def _names(if_none_match: str, tag: str) -> bool:
    """Whether the caller has this version, by one of the tags that he names."""
    named = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return f'"{tag}"' in named or "*" in named
