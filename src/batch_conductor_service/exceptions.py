"""The errors that are this service's own; what every service has stands in `service_libs`."""

from common_core.printable import escaped
from service_libs.exceptions import ServiceError


class UnknownPipelineError(ServiceError):
    """No pipeline and no step has this name."""

    code = "unknown_pipeline"

    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        shown = escaped(name)
        super().__init__(f"No pipeline and no step is named '{shown}'. Known: {', '.join(known)}.")


class UnknownBatchError(ServiceError):
    """Nothing is known of this batch."""

    code = "unknown_batch"


class PrerequisiteMissingError(ServiceError):
    """A step would run before what it depends on."""

    code = "prerequisite_missing"

    def __init__(self, step: str, prerequisite: str) -> None:
        self.step, self.prerequisite = step, prerequisite
        super().__init__(
            f"Step '{step}' depends on '{prerequisite}', which neither runs nor is complete."
        )
