"""What the routes answer that every service has."""

from pydantic import BaseModel, ConfigDict


class DependencyState(BaseModel):
    """Whether a dependency answers."""

    status: str
    message: str


class Health(BaseModel):
    """How the service, its dependencies and its tasks are doing."""

    model_config = ConfigDict(extra="allow")

    service: str
    status: str
    version: str
    environment: str
    dependencies: dict[str, DependencyState]
    tasks: dict[str, str]


class Readiness(BaseModel):
    """Whether `define` can be answered."""

    ready: bool


class Liveness(BaseModel):
    """Whether the event loop and its tasks are alive."""

    alive: bool
