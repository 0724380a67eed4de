"""What an error of the database means for us: the one place that knows the driver's errors.

The question is only whether the same statement may ever succeed. Where that is not sure it may: an
event tried again too often is a nuisance, an event given up on is lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import InterfaceError, InternalClientError, PostgresError
from asyncpg.exceptions import ClientConfigurationError
from sqlalchemy.exc import SQLAlchemyError

from service_libs.exceptions import RefusedUpdateError, ServiceError, StoreUnavailableError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DATA_EXCEPTION = "22"  # class: NUL in a text, a number or a time out of range
# Not null, check, the same key twice, a key too long for its index.
_REFUSED_STATES = frozenset({"23502", "23514", "21000", "54000"})


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the driver's errors as ours.

    Raises:
        RefusedUpdateError: the database will never take these values.
        StoreUnavailableError: anything else, of the network, the server, its schema or its rights.
    """
    try:
        yield
    except (
        SQLAlchemyError,
        PostgresError,
        InterfaceError,
        InternalClientError,
        OSError,  # TimeoutError is one
    ) as exc:
        raise _translate(exc) from exc


def _translate(error: BaseException) -> ServiceError:
    if any(_is_refusal(cause) for cause in _causes(error)):
        return RefusedUpdateError()
    return StoreUnavailableError("The database cannot be used now.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_DATA_EXCEPTION) or state in _REFUSED_STATES
    # The driver itself could not encode a value; this error of its has no public name.
    is_bad_value = isinstance(error, InterfaceError) and isinstance(error, ValueError)
    return is_bad_value and not isinstance(error, ClientConfigurationError)
