"""The errors that are this service's own, by what its callers can do about them.

Their texts go to callers as they are: none names a batch, a user or a server.
"""

from common_core.problem import FieldError
from service_libs.exceptions import ServiceError, TransientError

# What the caller has to change.


class NotJsonError(ServiceError):
    """The body is not JSON."""

    code = "not_json"


class BatchMismatchError(ServiceError):
    """The batch_id of the body is not that of the path."""

    code = "batch_id_mismatch"


class InvalidFieldsError(ServiceError):
    """Fields are missing, or have values that they cannot have."""

    code = "invalid_fields"

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__()
        self.faults = faults


class BodyTooLargeError(ServiceError):
    """The body is larger than 64 KiB."""

    code = "body_too_large"


class BodyTooSlowError(ServiceError):
    """The body did not arrive in time."""

    code = "request_timeout"


class UnsupportedMediaTypeError(ServiceError):
    """The body must be application/json."""

    code = "unsupported_media_type"


class KeyReusedError(ServiceError):
    """The Idempotency-Key was used for another batch or another body."""

    code = "idempotency_key_reused"


# Who the caller is, and what that allows.


class UnauthenticatedError(ServiceError):
    """A valid bearer token is needed."""

    code = "unauthorized"

    def __init__(self, reason: str) -> None:
        """Keep the reason for the log and the metric; callers learn no more than that it failed."""
        super().__init__()
        self.reason = reason


class ForbiddenError(ServiceError):
    """The token lacks the scope that this needs."""

    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope


class UnknownBatchError(ServiceError):
    """There is no such batch, or it is not yours."""

    code = "unknown_batch"


# What the caller may try again.


class RequestInFlightError(ServiceError):
    """A request with this Idempotency-Key is still on its way."""

    code = "request_in_flight"


class RateLimitedError(ServiceError):
    """Too many requests."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int, message: str | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooManyStreamsError(RateLimitedError):
    """Too many event streams are open."""

    code = "too_many_streams"


class OrchestratorUnavailableError(TransientError):
    """What is known of the batch cannot be read now."""

    code = "status_unavailable"


class KeysUnavailableError(TransientError):
    """Tokens cannot be checked now."""

    code = "keys_unavailable"


class NotAcknowledgedError(TransientError):
    """It is not known whether the request was taken; with its Idempotency-Key it is taken once."""

    code = "not_acknowledged"
