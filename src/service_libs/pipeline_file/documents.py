"""YAML without its traps, and with the line of everything in it.

Anchors, aliases, tags and deep nesting are refused, keys are unique, and a scalar is a text or
nothing: `no` is a name here, not a falsehood. Documents are built from the parser's events, because
the library's own composer recurses in C and a megabyte of nested brackets would end the process.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

MAX_DEPTH = 20
NULLS = frozenset({"", "~", "null"})

Path = tuple[str | int, ...]

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the wheel may lack libyaml


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What is wrong, and on which line."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class UnreadableDocumentError(Exception):
    """The text is no document; the faults say why."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(map(str, faults)))


@dataclass(slots=True)
class Document:
    """The value of a document, the line of each path in it, and the keys given twice."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """Return the line of the path, or of the nearest thing around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def read_document(text: str) -> Document:
    """Return the only document of the text.

    Raises:
        UnreadableDocumentError: it is not YAML, or not the YAML allowed here.
    """
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER)).compose()
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        fault = Fault(line, f"not YAML: {exc.problem}")
    except yaml.YAMLError:
        fault = Fault(1, "not YAML: it has characters that YAML forbids")
    raise UnreadableDocumentError([fault])


class _Composer:
    """Builds a document from events, collecting what is refused on the way."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._document = Document(lines={(): 1})
        self._refused: list[Fault] = []

    def compose(self) -> Document:
        content = (e for e in self._events if not isinstance(e, _STRUCTURE))
        self._events = content
        first = next(content, None)
        if first is None:
            raise UnreadableDocumentError([Fault(1, "the file is empty")])
        self._document.value = self._value(first, ())
        extra = next(content, None)
        if extra is not None:
            self._refused.append(Fault(_line(extra), "a second document"))
        if self._refused:
            raise UnreadableDocumentError(self._refused)
        return self._document

    def _value(self, event: yaml.Event, path: Path) -> object:
        self._document.lines.setdefault(path, _line(event))
        self._refuse_traps(event)
        if len(path) > MAX_DEPTH:
            self._fail(event, "nested too deep")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        return _scalar(event)

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, object]:
        items: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            is_known = key in items
            if is_known:
                first = self._document.lines[*path, key]
                text = f"key {key!r} stands already on line {first}"
                self._document.faults.append(Fault(_line(event), text))
            self._document.lines.setdefault((*path, key), _line(event))
            value = self._value(next(self._events), (*path, key))
            if not is_known:
                items[key] = value
        return items

    def _key(self, event: yaml.Event) -> str:
        self._refuse_traps(event)
        key = _scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if key is None:
            self._fail(event, "a key must be a text")
        return key

    def _refuse_traps(self, event: yaml.Event) -> None:
        if getattr(event, "anchor", None) is not None:
            self._refused.append(Fault(_line(event), "anchors and aliases are not allowed"))
        if getattr(event, "tag", None) is not None:
            self._refused.append(Fault(_line(event), "tags are not allowed"))

    def _fail(self, event: yaml.Event, text: str) -> NoReturn:
        raise UnreadableDocumentError([*self._refused, Fault(_line(event), text)])


_STRUCTURE = (
    yaml.StreamStartEvent,
    yaml.StreamEndEvent,
    yaml.DocumentStartEvent,
    yaml.DocumentEndEvent,
)


def _scalar(event: yaml.Event) -> str | None:
    value = str(getattr(event, "value", ""))  # an alias has none; it is refused
    is_plain = not getattr(event, "style", None)
    return None if is_plain and value.lower() in NULLS else value


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
