"""Every error that is no service's own, by what a caller has to do about it.

A message is the class's docstring unless one is given. Adapters translate their driver's errors
into these, always `from` the cause; the texts never repeat a driver's message.
"""

from collections.abc import Mapping


class ServiceError(Exception):
    """The service could not do what was asked."""

    code = "internal_error"  # stable, for callers over HTTP and for dead letters

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


# What never succeeds: dead-letter and go on.


class InvalidMessageError(ServiceError):
    """The record can never be applied."""

    code = "invalid_message"

    def __init__(self, message: str | None = None, *, reason: str = "schema_violation") -> None:
        self.reason = reason
        super().__init__(message)


class RefusedUpdateError(ServiceError):
    """The database refuses this row for good."""

    code = "refused_update"


# What may succeed later: wait, and do not commit.


class TransientError(ServiceError):
    """A dependency cannot be reached now."""

    code = "dependency_unavailable"


class StoreUnavailableError(TransientError):
    """Neither the cache nor the database can be read."""

    code = "state_unavailable"


class UnfitStoreError(StoreUnavailableError):
    """A store answers and cannot hold what it must: nothing is written, and no start succeeds."""


class BrokerUnavailableError(TransientError):
    """The broker did not acknowledge in time."""

    code = "broker_unavailable"


class OverloadedError(TransientError):
    """Too many requests are in flight."""

    code = "overloaded"


class DeadlineExceededError(TransientError):
    """The answer took too long."""

    code = "deadline_exceeded"


# What stops the start.


class SettingsError(ServiceError):
    """A setting is bad."""

    code = "bad_setting"


class PipelineConfigurationError(ServiceError):
    """The pipeline file has faults."""

    code = "pipeline_configuration"

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(
            "\n".join([f"{source}: {len(faults)} fault(s)", *(f"  {f}" for f in faults)])
        )


class HaltError(ServiceError):
    """A person has to look: to go on would do harm, or lead to the same place again.

    `details` is for the log: what, how much, and where.
    """

    code = "halted"

    def __init__(
        self, message: str | None = None, details: Mapping[str, str | int] | None = None
    ) -> None:
        super().__init__(message)
        self.details = details or {}


class DeadLetterLimitError(HaltError):
    """Most records would be dead-lettered, so consumption stopped."""

    code = "dead_letter_limit"


class UnreadableRecordError(HaltError):
    """A record cannot be read from its partition, so consumption stopped."""

    code = "unreadable_record"


class UncleanShutdownError(ServiceError):
    """Something had to be cut off, or failed, while the service stopped."""

    code = "unclean_shutdown"
