"""What the OpenAPI document says in words."""

TITLE = "API Gateway"
ABOUT = """\
Asks for pipelines over batches of essays, and shows what becomes of them.

Every error is a problem of RFC 9457, with a `code` that is stable, and says by `retryable` whether
the same request may succeed later as it is. Every answer has the `X-Correlation-ID` by which the
service's log knows it; send a UUID of your own to choose it.

Limits hold for each user and route. Every answer of a limited route says how you stand in
`RateLimit`, and what holds in `RateLimit-Policy`; a refusal has `Retry-After` in seconds.
"""
BATCH_ID = "The batch: letters, digits and . _ ~ @ + = -"
IDEMPOTENCY_KEY = (
    "Names this click: sent again with the same key, it is taken once, and has the same answer. "
    "Make one for each click, and keep it for its retries."
)
IF_NONE_MATCH = "The ETag of the status that you have: 304 if it is still so."
LAST_EVENT_ID = "The id of the last event that you have: it is not sent again."
BEARER = "A token of the identity service, with the scopes pipelines:run and batches:read."
ACCEPTED_MESSAGE = "The pipeline was requested; its progress is in the batch's status."

OPERATIONS = {
    "post": "Kafka has the request when this is answered; what becomes of it, a rejection too, "
    "is in the status. A batch takes one pipeline at a time, later ones wait.",
    "status": "Answered from what the orchestrator knows now.",
    "events": "Server-sent events: `event: status`, `id`, and the status as `data`, at once and on "
    "each change; a comment every 15 seconds. Read it with `fetch`, for a token never stands in a "
    "URL. It ends with the token's life, or when the service stops: ask again, with "
    "`Last-Event-ID`. Five at a time for each user.",
}
HEADERS = {
    "X-Correlation-ID": "The id of this request in the service's log, a UUID.",
    "RateLimit": 'How you stand, for each limit: `"name";r=remaining;t=seconds until more`.',
    "RateLimit-Policy": 'The limits: `"name";q=requests;w=seconds`.',
    "Retry-After": "Seconds to wait before the same is asked again.",
    "WWW-Authenticate": "What a token must be like.",
    "Location": "Where the batch's status is.",
    "ETag": "Changes with the status; send it as If-None-Match.",
    "Cache-Control": "No answer is kept for others.",
    "Allow": "The methods that the address has.",
}
