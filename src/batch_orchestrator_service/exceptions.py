"""The errors that are this service's own; what every service has stands in `service_libs`."""

from service_libs.exceptions import ServiceError


class RequestIdTakenError(ServiceError):
    """A request over another batch has this id."""

    code = "request_id_taken"


class UnknownBatchError(ServiceError):
    """Nothing is known of this batch."""

    code = "unknown_batch"


class UnknownRunError(ServiceError):
    """There is no such run."""

    code = "unknown_run"


class NothingToResendError(ServiceError):
    """The phase of the run was never commanded, or has ended."""

    code = "nothing_to_resend"


class RunHasEndedError(ServiceError):
    """The run has ended already."""

    code = "run_has_ended"
