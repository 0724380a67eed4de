"""A refusal is described in the words of the service that it stops."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from service_libs.redis.refusals import UNAVAILABLE, RedisNames, describe, is_refusal

NAMES = RedisNames(
    service="GATEWAY", setting="A_REDIS_URL", key_patterns="~a:*", server_run="a:run"
)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (
            AuthenticationError("WRONGPASS"),
            "Redis refuses the user or the password of A_REDIS_URL.",
        ),
        (
            NoPermissionError("No permissions to access a key"),
            "Redis refuses a key to GET: its user lacks the right to it, ~a:*.",
        ),
        (
            NoPermissionError("User a has no permissions to run the 'client|id' command"),
            "Redis refuses CLIENT ID: its user lacks the right to it, +client|id.",
        ),
        (
            ClusterDownError("Hash slot not served"),
            "Redis runs in cluster mode and refuses GET: GATEWAY needs a single primary.",
        ),
        (ResponseError("OOM s3cret"), UNAVAILABLE),
    ],
)
def test_what_is_refused_is_said_with_the_names_of_the_service(
    error: RedisError, described: str
) -> None:
    assert describe(error, NAMES, "GET") == described


def test_only_a_right_or_the_mode_of_the_server_is_a_refusal() -> None:
    assert is_refusal(NoPermissionError())
    assert is_refusal(ClusterDownError("down"))
    assert not is_refusal(ResponseError())
    assert not is_refusal("OK")
