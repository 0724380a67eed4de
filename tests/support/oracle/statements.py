"""Records as they were sent, and what they say of a batch."""

from dataclasses import dataclass

from tests.support.oracle.times import Clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as Kafka has it, and when we took it; both times in milliseconds since 1970."""

    topic: str
    key: bytes | None
    value: bytes | None
    sent_ms: int
    consumed_ms: int

    @property
    def clocks(self) -> Clocks:
        """A record without a time has ours."""
        sent_ms = self.sent_ms if self.sent_ms > 0 else self.consumed_ms
        return Clocks(record=sent_ms * 1000, ours=self.consumed_ms * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a record says of a batch; the same words sent again are a copy."""

    batch: str
    clocks: Clocks
    said: int
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent(Statement):
    """An essay's own word about its spellcheck."""

    essay: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment(Statement):
    """A comparative judgement that ended."""

    is_clean: bool
    essays: frozenset[str]
    named: frozenset[str]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Statement):
    """How a phase ended for a batch."""

    phase: str
    status: str
    processed: frozenset[str]
    failed: frozenset[str]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Statement):
    """How many essays a batch has, and which."""

    size: int
    essays: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record that is dead-lettered although its batch can be read; no step means every step."""

    batch: str
    clocks: Clocks
    step: str | None
    essay: str | None = None
    topic: str
