"""How the page reads a stream of events, wherever the network cuts it into pieces; by node."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from tests.support.processes import ROOT

LIVE = ROOT / "src" / "api_gateway_service" / "demo" / "live.js"
READ = f"""
import {{ eventsOf }} from "{LIVE.as_uri()}";
let text = "";
for await (const part of process.stdin) text += part;
async function* chunks(parts) {{
    for (const part of parts) yield new Uint8Array(Buffer.from(part, "base64"));
}}
const heard = [];
for (const parts of JSON.parse(text)) {{
    const events = [];
    for await (const event of eventsOf(chunks(parts))) events.push(event);
    heard.push(events);
}}
console.log(JSON.stringify(heard));
"""
Event = dict[str, str]
Pieces = Sequence[bytes]


def events_of(streams: Sequence[Pieces]) -> list[list[Event]]:
    """Return what is read from each stream, given in pieces."""
    if shutil.which("node") is None:
        pytest.skip("no node: the page's scripts are tried where there is one")
    given = [[base64.b64encode(piece).decode() for piece in pieces] for pieces in streams]
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", READ],
        input=json.dumps(given),
        check=True,
        capture_output=True,
        text=True,
    )
    heard: list[list[Event]] = json.loads(done.stdout)
    return heard


def status(id_: str, data: str) -> Event:
    return {"name": "status", "id": id_, "data": data}


def test_a_stream_reads_the_same_wherever_it_is_cut() -> None:
    text = 'retry: 2000\n\n: alive\n\nevent: status\nid: å1\ndata: {"name": "Åsa ✓"}\n\n'.encode()
    cuts = [[text[:place], text[place:]] for place in range(len(text) + 1)]
    cuts.append([bytes([byte]) for byte in text])

    expected = [
        {"name": "retry", "id": "", "data": "2000"},
        status("å1", '{"name": "Åsa ✓"}'),
    ]
    assert events_of(cuts) == [expected] * len(cuts)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_standard_allows(end: str) -> None:
    text = end.join(["event: status", "id: 1", "data: a", "data: b", "", "data:c", "", ""]).encode()
    cuts = [[text[:place], text[place:]] for place in range(len(text) + 1)]
    # A CR at the very end may be half of an end: it is one when more has come.
    cuts = [[*pieces, b": more"] for pieces in cuts]

    expected = [status("1", "a\nb"), {"name": "message", "id": "1", "data": "c"}]
    assert events_of(cuts) == [expected] * len(cuts)


def test_what_has_not_come_to_its_end_is_no_event() -> None:
    assert events_of([[b"event: status\nid: 1\ndata: a\n"], [b"data"], [b""], []]) == [[]] * 4


def test_fields_that_nobody_knows_and_events_without_data_are_passed_over() -> None:
    text = b"colour: blue\ndata\n\nevent: status\nid: 2\n\ndata: x\n\n"

    assert events_of([[text]]) == [
        [{"name": "message", "id": "", "data": ""}, {"name": "message", "id": "2", "data": "x"}]
    ]
