"""How a dead letter is written, and how the original is had back from it, byte for byte. Pure.

The value is a JSON document that a person can read; what matters is repeated in headers. Where the
topic does not take the document, which outgrows its original, the value is the original itself and
the document, without the payload, goes into the header `…-document`. Where it takes neither,
the document says only where the original was read, so that no record is too large for a letter.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from common_core.fields import is_identifier
from common_core.topics import EventName, dlq_topic_name, topic_name
from service_libs.kafka.records import DeadLetter

SCHEMA_VERSION = "v1"
MAX_MESSAGE_BYTES = 900  # with its type an error stays under 1 KiB
MAX_KEY_BYTES = 255  # of a dead letter that always fits, and of a correlation id
MAX_DOCUMENT_BYTES = 3 * 1024 * 1024  # leaves room for the headers in what a producer may send

Header = tuple[str, bytes]
OriginalHeader = tuple[str, bytes | None]  # Kafka knows headers without a value


class Message(NamedTuple):
    """What is sent to a topic."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[Header]


class OriginalRecord(NamedTuple):
    """What was once read from a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[OriginalHeader]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFormat:
    """The form of one service's dead letters: its name, and what its headers begin with."""

    service: str
    prefix: str

    def wrap(self, letter: DeadLetter, now: datetime) -> Message:
        """Return the dead letter as a document; as its original where that is too large for one."""
        document = self._document(letter, now)
        forms = (orjson.dumps(document | payload) for payload in _payload_forms(letter.payload))
        value = next((form for form in forms if len(form) <= MAX_DOCUMENT_BYTES), None)
        if value is None:
            return self.wrap_original(letter, now)
        return Message(
            dlq_topic_name(letter.base_topic), _key(letter), value, self._headers(letter)
        )

    def wrap_original(self, letter: DeadLetter, now: datetime) -> Message:
        """Return the dead letter as its original value, hardly larger than the original was."""
        is_there = letter.payload is not None
        place = {"payload_encoding": "value"} if is_there else {"payload": None}
        document = orjson.dumps(self._document(letter, now) | place)
        headers = [*self._headers(letter), (f"{self.prefix}document", document)]
        topic = dlq_topic_name(letter.base_topic)
        return Message(topic, _key(letter), letter.payload or b"", headers)

    def wrap_reference(self, letter: DeadLetter, now: datetime) -> Message:
        """Return the dead letter without the record: of bounded size, whatever the record has."""
        payload = letter.payload or b""
        metadata = dict(letter.metadata or {}) | {
            "original_partition": letter.partition,
            "original_offset": letter.offset,
            "original_timestamp": letter.timestamp_ms,
            "payload_bytes": len(payload),
            "payload_sha256": hashlib.sha256(payload).hexdigest(),
            "correlation_id": _correlation_id(letter),
        }
        document = self._document(letter, now) | {
            "additional_metadata": metadata,
            "payload": None,
            "payload_encoding": "omitted",
        }
        key = _key(letter)
        return Message(
            dlq_topic_name(letter.base_topic),
            key if key is None or len(key) <= MAX_KEY_BYTES else None,
            orjson.dumps(document),
            self._headers(letter),
        )

    def original_record(self, value: bytes, headers: Sequence[Header]) -> OriginalRecord:
        """Return the record that was dead-lettered, from the value and headers of its dead letter.

        Raises:
            ValueError: this is no dead letter of ours, or the record was too large for it.
        """
        described = dict(headers).get(f"{self.prefix}document")
        document = orjson.loads(value if described is None else described)
        try:
            metadata = document["additional_metadata"]
            held = _original_value(document, value)
            return OriginalRecord(
                topic=document["original_topic"],
                key=_from_base64(metadata["original_key"]),
                value=held,
                headers=[(name, _from_base64(one)) for name, one in metadata["original_headers"]],
            )
        except (KeyError, TypeError) as exc:
            raise ValueError("the value is not a dead letter of this service") from exc

    def _document(self, letter: DeadLetter, now: datetime) -> dict[str, Any]:
        metadata = dict(letter.metadata or {}) | {
            "original_key": _to_base64(letter.key),
            "original_headers": [(name, _to_base64(held)) for name, held in letter.headers],
            "correlation_id": _correlation_id(letter),
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "service": self.service,
            "original_topic": letter.base_topic,
            "timestamp": now.isoformat(),
            "dlq_reason": letter.reason,
            "error_info": {"type": letter.error_type, "message": _printable(letter.error_message)},
            "additional_metadata": metadata,
        }

    def _headers(self, letter: DeadLetter) -> list[Header]:
        values = {
            "original-topic": letter.base_topic,
            "original-partition": letter.partition,
            "original-offset": letter.offset,
            "original-timestamp": letter.timestamp_ms,
            "consumer-group": letter.consumer_group,
            "reason": letter.reason,
            "exception-class": letter.error_type,
            "correlation-id": _correlation_id(letter),
            "redrive-count": self._redrive_count(letter),
        }
        return [
            (f"{self.prefix}{name}", str(held).encode())
            for name, held in values.items()
            if held is not None
        ]

    def _redrive_count(self, letter: DeadLetter) -> int:
        """Return how often the record was redriven: whoever redrives it raises its header."""
        held = dict(letter.headers).get(f"{self.prefix}redrive-count") or b""
        return int(held) if held.isdigit() else 0


def subject_of(letter: DeadLetter) -> dict[str, str]:
    """Return which batch and which correlation id the letter is about, as far as that is known."""
    named = {"batch_id": _batch_id(letter), "correlation_id": _correlation_id(letter)}
    return {name: text for name, text in named.items() if text is not None}


def _original_value(document: Mapping[str, Any], value: bytes) -> bytes | None:
    match document.get("payload_encoding"):
        case "omitted":
            raise ValueError("the payload was omitted; it is where the record was read")
        case "value":
            return value
        case "base64":
            return base64.b64decode(document["payload"])
        case _:
            payload = document["payload"]
            return None if payload is None else str(payload).encode()


def _payload_forms(payload: bytes | None) -> Iterator[dict[str, Any]]:
    """Yield the payload in ever smaller forms: text with its envelope, text, base64."""
    if payload is None:
        yield {"payload": None}
        return
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        pass
    else:
        if _envelope(payload):
            # As it was written: parsing and writing again could lose digits.
            yield {"failed_event_envelope": orjson.Fragment(payload), "payload": text}
        yield {"payload": text}
    yield {"payload": base64.b64encode(payload).decode(), "payload_encoding": "base64"}


def _key(letter: DeadLetter) -> bytes | None:
    if letter.key is not None:
        return letter.key
    data = _envelope(letter.payload).get("data")
    batch_id = data.get("batch_id") if isinstance(data, dict) else None
    return batch_id.encode() if isinstance(batch_id, str) else None


def _batch_id(letter: DeadLetter) -> str | None:
    """Return the batch that the payload names, else the key where keys are batches."""
    envelope = _envelope(letter.payload)
    data = envelope.get("data")
    held = (data if isinstance(data, dict) else envelope).get("batch_id")
    if held is None and letter.base_topic != topic_name(EventName.SPELLCHECK_PHASE_COMPLETED):
        held = (letter.key or b"").decode(errors="replace")
    return held if isinstance(held, str) and is_identifier(held) else None


def _correlation_id(letter: DeadLetter) -> str | None:
    if letter.correlation_id is not None:
        return letter.correlation_id
    held = _envelope(letter.payload).get("correlation_id")
    return held if isinstance(held, str) and len(held) <= MAX_KEY_BYTES else None


def _envelope(payload: bytes | None) -> dict[str, Any]:
    """Return the object that the payload is, or none."""
    try:
        parsed = orjson.loads(payload or b"")
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _printable(message: str) -> str:
    """Return the message on one line, and of bounded size."""
    line = "".join(character if character.isprintable() else " " for character in message)
    return line.encode(errors="replace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")


def _to_base64(held: bytes | None) -> str | None:
    return None if held is None else base64.b64encode(held).decode()


def _from_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
