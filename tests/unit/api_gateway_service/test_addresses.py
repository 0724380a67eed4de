"""Where a request comes from, whatever its headers say."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from api_gateway_service.main import believe_proxies
from api_gateway_service.middleware import correlation_middleware
from api_gateway_service.middleware.correlation_middleware import client_address
from api_gateway_service.routing import match_route

PROXIES = ["10.0.0.0/8", "fd00::/8"]


async def receive_nothing() -> Message:
    raise AssertionError


async def send_nothing(_message: Message) -> None:
    raise AssertionError


async def address_of(peer: str | None, *headers: str) -> str:
    seen: list[str] = []

    async def look(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(client_address(scope))

    scope = {
        "type": "http",
        "client": (peer, 4711) if peer else None,
        "headers": [(b"x-forwarded-for", one.encode("latin-1")) for one in headers],
    }
    await believe_proxies(look, PROXIES)(scope, receive_nothing, send_nothing)
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),  # the first may be made up
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["nonsense"], "unknown"),
        ("10.0.0.1", ["198.51.100.1, é"], "unknown"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9\r\nX: y"], "unknown"),
        ("10.0.0.1", ["", ","], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all of them ours
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),  # what one subscriber has
        ("2001:db8:1:2::7", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
async def test_only_what_proxies_of_ours_have_written_is_believed(
    peer: str | None, headers: list[str], expected: str
) -> None:
    assert await address_of(peer, *headers) == expected


@pytest.mark.parametrize(
    ("path", "template", "batch_id"),
    [
        ("/v1/batches/b/status", "/v1/batches/{batch_id}/status", "b"),
        ("/v1/batches/b/status/", "/v1/", None),
        ("/v1/batches//status", "/v1/", None),
        ("/v1/batches/b/status\n", "/v1/", None),
        ("/v1/", "/v1/", None),
        ("/v1", "unmatched", None),
        ("/healthz", "/healthz", None),
        ("/docs/assets/x.js", "/docs/assets/{name}", None),
    ],
)
def test_a_path_leads_to_a_template_and_never_becomes_a_label(
    path: str, template: str, batch_id: str | None
) -> None:
    route = match_route(path)

    assert (route.template, route.batch_id) == (template, batch_id)


def test_what_a_caller_made_up_at_length_is_not_remembered() -> None:
    """Else whoever may name his address could fill the memory."""
    before = correlation_middleware._remembered_address_of.cache_info().currsize

    for number in range(10):
        client_address({"client": (f"fe80::1%{number:0>1000}", 1)})

    assert correlation_middleware._remembered_address_of.cache_info().currsize == before
