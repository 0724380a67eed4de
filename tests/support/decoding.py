"""Reading an event as the service reads it."""

from batch_conductor_service.events.consumed import DATA_MODELS, DecodedEvent
from service_libs.decoding import decode


def decode_event(topic: str, payload: bytes | None) -> DecodedEvent:
    """Return the event that the topic promises, as `PollHandler` reads it."""
    return decode(topic, payload, DATA_MODELS)
