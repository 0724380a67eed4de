from collections.abc import Callable

import asyncpg
import pytest
from asyncpg import exceptions as driver
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service_libs.exceptions import (
    RefusedUpdateError,
    ServiceError,
    StoreUnavailableError,
    TransientError,
)
from service_libs.postgres.errors import translated_errors

Wrap = Callable[[Exception], Exception]

SECRET = "the password of essay-1"

REFUSED = [
    driver.CharacterNotInRepertoireError,
    driver.NumericValueOutOfRangeError,
    driver.DatetimeFieldOverflowError,
    driver.InvalidTextRepresentationError,
    driver.UntranslatableCharacterError,
    driver.NotNullViolationError,
    driver.CheckViolationError,
    driver.CardinalityViolationError,
    driver.ProgramLimitExceededError,
]
WAITED_FOR = [
    OSError,
    ConnectionRefusedError,
    TimeoutError,
    PoolTimeoutError,
    SQLAlchemyError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    driver.ClientConfigurationError,
    driver.ConnectionDoesNotExistError,
    driver.SerializationError,
    driver.DeadlockDetectedError,
    driver.AdminShutdownError,
    driver.CannotConnectNowError,
    driver.QueryCanceledError,
    driver.IdleInTransactionSessionTimeoutError,
    driver.TooManyConnectionsError,
    driver.DiskFullError,
    driver.OutOfMemoryError,
    driver.LockNotAvailableError,
    driver.InvalidPasswordError,
    driver.InvalidCatalogNameError,
    driver.UndefinedTableError,
    driver.UndefinedColumnError,
    driver.InsufficientPrivilegeError,
    driver.ReadOnlySQLTransactionError,
    driver.UniqueViolationError,
    driver.InternalServerError,
    asyncpg.PostgresError,
]


def translated(error: Exception) -> ServiceError:
    with pytest.raises(ServiceError) as caught, translated_errors():
        raise error
    return caught.value


def wrapped(error: Exception) -> Exception:
    """Return the error as SQLAlchemy raises it: below its own, and below that of its adapter."""
    adapted = Exception(SECRET)
    adapted.__cause__ = error
    outer = DBAPIError(f"INSERT {SECRET}", None, adapted)
    outer.__cause__ = adapted
    return outer


@pytest.mark.parametrize("make", [lambda error: error, wrapped])
@pytest.mark.parametrize("kind", REFUSED)
def test_values_that_can_never_be_stored_are_refused(kind: type[Exception], make: Wrap) -> None:
    error = make(kind(SECRET))

    result = translated(error)

    assert type(result) is RefusedUpdateError
    assert result.__cause__ is error
    assert SECRET not in str(result)


@pytest.mark.parametrize("make", [lambda error: error, wrapped])
@pytest.mark.parametrize("kind", WAITED_FOR)
def test_everything_else_is_waited_for(kind: type[Exception], make: Wrap) -> None:
    error = make(kind(SECRET))

    result = translated(error)

    assert type(result) is StoreUnavailableError
    assert isinstance(result, TransientError)
    assert result.__cause__ is error
    assert SECRET not in str(result)


def test_a_fault_of_ours_is_no_fault_of_the_database() -> None:
    with pytest.raises(KeyError), translated_errors():
        raise KeyError("ours")
