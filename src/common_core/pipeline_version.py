"""Which version of a pipeline a service has: a hash of its definition. Pure; stdlib only.

Whoever reads the same pipeline file has the same versions, so two services can tell that they do
not: what one says of a phase is then not what the other takes it for.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class StepDefinition(Protocol):
    """A step as the file declares it."""

    @property
    def name(self) -> str:
        """The name of the step."""

    @property
    def service_name(self) -> str:
        """Who does it."""

    @property
    def event_type(self) -> str:
        """The topic of its command."""

    @property
    def event_data_model(self) -> str:
        """The form of its command."""

    @property
    def depends_on(self) -> Sequence[str]:
        """The steps that it is made from."""


Definition = TypeVar("Definition", bound=StepDefinition)


def version_of(steps: Iterable[StepDefinition]) -> str:
    """Return the version of the pipeline that has these steps, in the order of the file."""
    return hash_of(
        [[s.name, s.service_name, s.event_type, s.event_data_model, s.depends_on] for s in steps]
    )


def hash_of(definition: object) -> str:
    """Return a short hash of what JSON can say."""
    return hashlib.sha256(json.dumps(definition).encode()).hexdigest()[:16]


def sub_graph(steps: Sequence[Definition], targets: Iterable[str]) -> tuple[Definition, ...]:
    """Return the targets and all they depend on, in the order of `steps`."""
    by_name = {step.name: step for step in steps}
    wanted: set[str] = set()
    frontier = list(targets)
    while frontier:
        name = frontier.pop()
        if name not in wanted:
            wanted.add(name)
            frontier.extend(by_name[name].depends_on)
    return tuple(step for step in steps if step.name in wanted)
