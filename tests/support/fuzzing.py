"""What fuzzers share: how often they try, JSON that is nearly what was meant, how they judge."""

import json
import os
from collections.abc import Collection
from typing import Any

import httpx
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st

THOROUGH_FACTOR = 25
PROBLEM = "application/problem+json"

_RAW = "\ufdd0"  # stands for a value that is written as it is, so no value may hold it
_COPY = "\ufdd1"  # marks a key that is written once more

Place = tuple[Any, Any]  # a list or an object, and an index or a key in it

# Values that JSON has, or nearly has, and that readers are known to stumble over.
STRANGE_JSON: tuple[bytes, ...] = (
    b"",
    b"null",
    b"true",
    b"-0",
    b"0.0",
    b"1e400",
    b"-1e-400",
    b"9223372036854775808",
    b"1" * 5_000,
    b"NaN",
    b"-Infinity",
    b"0x10",
    b"01",
    b"'single'",
    b'"\\u0000"',
    b'"\x00"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\xef\xbb\xbf"',
    b'"\\u202e{0}%s${jndi:x}"',
    b'"' + b"x" * 70_000 + b'"',
    b"[]",
    b"{}",
    b'{"": {"": []}}',
    b'{"__proto__": 1, "constructor": 2}',
    b"[" * 500 + b"]" * 500,
    b"[" * 5_000 + b"]" * 5_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'"9999-12-31T23:59:59.999999-23:59"',
    b'"0001-01-01T00:00:00+23:59"',
    b'"2025-06-01T24:00:00Z"',
    b'"2025-W01-1"',
)


def tries(examples: int) -> settings:
    """Return how often to try; with `HYPOTHESIS_PROFILE=thorough` many times as often.

    That takes longer than a test may by default: give pytest `--timeout 0`.
    """
    is_thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    return settings(max_examples=examples * (THOROUGH_FACTOR if is_thorough else 1))


def documented(schema: schemathesis.BaseSchema, method: str, path: str) -> set[str]:
    """Return the statuses that the document gives to the operation."""
    return set(schema[path][method].definition.raw["responses"])


def check_answer(response: httpx.Response, statuses: Collection[str]) -> None:
    """Check that the status is one of those and no fault of ours, and an error is a problem."""
    assert str(response.status_code) in statuses
    assert response.status_code < 500
    if response.status_code >= 400:
        assert response.headers["Content-Type"] == PROBLEM
        assert response.json()["status"] == response.status_code
        assert response.json()["code"]


# What HTTP lets a header hold; anything else never gets as far as the service.
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=120
).map(lambda text: text.strip(" "))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
).map(lambda value: json.dumps(value).encode())

bad_values = st.sampled_from(STRANGE_JSON) | json_values


@st.composite
def mutated_json(draw: st.DrawFn, documents: st.SearchStrategy[bytes]) -> bytes:
    """Draw a document with a few fields deleted, replaced, doubled or added, or broken as bytes."""
    document = json.loads(draw(documents))
    raw: list[bytes] = []
    for _ in range(draw(st.integers(1, 3))):
        if found := places(document):
            container, key = draw(st.sampled_from(found))
            _change(draw, container, key, raw)
    text = json.dumps(document, ensure_ascii=False).replace(_COPY, "").encode()
    for value in raw:
        text = text.replace(f'"{_RAW}"'.encode(), value, 1)
    return draw(broken_bytes(text)) if draw(st.integers(0, 4)) == 0 else text


@st.composite
def broken_bytes(draw: st.DrawFn, text: bytes) -> bytes:
    """Draw the bytes cut off, with something in between, or both."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 8)))
    return text[:start] + draw(st.binary(max_size=4)) + draw(st.sampled_from([text[end:], b""]))


def places(value: object) -> list[Place]:
    """Return every place in the value that something else could stand in."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    within = [place for _, inner in items for place in places(inner)]
    return [*((value, key) for key, _ in items), *within]


def _change(draw: st.DrawFn, container: Any, key: Any, raw: list[bytes]) -> None:  # noqa: ANN401 - JSON
    how = draw(st.sampled_from(["replace", "replace", "delete", "double", "add"]))
    if how == "delete":
        del container[key]
        return
    if how == "double" and isinstance(container, list):
        container.extend([container[key]] * draw(st.sampled_from([1, 2, 300])))
        return
    raw.append(draw(bad_values))
    if isinstance(container, list) or how == "replace":
        container[key] = _RAW
    else:
        container[f"{_COPY}{key}" if how == "double" else draw(st.text(max_size=9))] = _RAW
