"""The envelope around every event.

A field that decides nothing is not declared: a fault there must not cost the evidence.
"""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from common_core.fields import Moment, Text


class EventModel(BaseModel):
    """What came over the wire; fields of newer senders are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EventEnvelope(EventModel):
    """The envelope of an event.

    `event_id` and `event_timestamp` are new each time a relay sends again.
    """

    event_id: UUID
    event_type: Text
    event_timestamp: Moment
    schema_version: Annotated[int, Field(strict=True, ge=1)] = 1
    correlation_id: UUID
    data: dict[str, Any]
