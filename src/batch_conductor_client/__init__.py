"""The typed client of the Batch Conductor Service."""

from batch_conductor_client.client import BatchConductorClient, ClientPolicy
from batch_conductor_client.outcomes import (
    BatchKnown,
    BatchOutcome,
    BatchUnknown,
    NothingToDo,
    Refused,
    ResolutionOutcome,
    Resolved,
    Unavailable,
    UnknownPipeline,
)
from batch_conductor_client.protocols import BatchConductorClientProtocol

__all__ = [
    "BatchConductorClient",
    "BatchConductorClientProtocol",
    "BatchKnown",
    "BatchOutcome",
    "BatchUnknown",
    "ClientPolicy",
    "NothingToDo",
    "Refused",
    "ResolutionOutcome",
    "Resolved",
    "Unavailable",
    "UnknownPipeline",
]
