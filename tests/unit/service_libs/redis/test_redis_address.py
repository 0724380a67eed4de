"""The options in Redis's URL: taken, passed over, or refused in a line without the secret."""

from pathlib import Path

import certifi
import pytest
from redis.asyncio import Redis

from service_libs.exceptions import SettingsError
from service_libs.redis.address import read_url
from service_libs.redis.connections import RedisPolicy, connect
from service_libs.redis.refusals import RedisNames

SETTING = "A_REDIS_URL"
NAMES = RedisNames(service="A", setting=SETTING, key_patterns="~a:*", server_run="a:run")

PLAIN = (str, int, float, bool, type(None))


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379",
        "redis://bcs:p%40ss@redis.internal:6380/2",
        "redis://[::1]:6379/0",
        "rediss://redis",
        "unix:///run/redis.sock?db=1&password=p",
        "redis://redis?db=3&client_name=bcs&health_check_interval=30&socket_keepalive=true",
        "rediss://redis?ssl_cert_reqs=required&ssl_check_hostname=false",
    ],
)
def test_what_is_known_is_taken_as_it_is(url: str) -> None:
    read = read_url(url, setting=SETTING)

    assert (read.text, read.passed_over) == (url, ())


@pytest.mark.parametrize(
    "option",
    [
        "protocol=3",
        "decode_responses=true",
        "legacy_responses=false",
        "encoding=latin-1",
        "socket_timeout=60",
        "max_connections=1",
        "retry_on_timeout=true",
        "ssl_cert_reqs=none",
        "ssl_ca_certs=/nowhere.pem",
    ],
)
def test_what_the_client_decides_is_passed_over(option: str) -> None:
    read = read_url(f"redis://redis?{option}&db=1", setting=SETTING)

    assert read.text == "redis://redis?db=1"
    assert read.passed_over == (option.partition("=")[0],)


def test_a_client_is_the_same_whatever_its_url_says() -> None:
    options = "protocol=3&decode_responses=false&legacy_responses=false&socket_timeout=0.001"

    def arguments(url: str) -> dict[str, object]:
        client: Redis = connect(url, RedisPolicy(), NAMES)
        kwargs: dict[str, object] = dict(client.connection_pool.connection_kwargs)
        return {name: value for name, value in kwargs.items() if isinstance(value, PLAIN)}

    assert arguments(f"redis://redis?{options}") == arguments("redis://redis")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "not a URL of Redis"),
        ("redis:6379", "not a URL of Redis"),
        ("http://:s3cret@redis", "not a URL of Redis"),
        ("redis://:s3cret@[redis", "not a URL of Redis"),
        ("redis://:s3cret@redis:many", "its port is no number from 1 to 65535"),
        ("redis://:s3cret@redis:0", "its port is no number from 1 to 65535"),
        ("redis://:s3cret@redis:65536", "its port is no number from 1 to 65535"),
        ("redis://:s3cret@redis/first", "its database is no number"),
        ("redis://:s3cret@redis/-1", "its database is no number"),
        ("redis://:s3cret@redis?db=first", "option db is no whole number from 0 on"),
        ("redis://:s3cret@redis?db=", "option db is no whole number from 0 on"),
        ("redis://:s3cret@redis?db=0&db=1", "option db is given more than once"),
        ("redis://:s3cret@redis?socket_keepalive=on", "option socket_keepalive is none of true,"),
        ("redis://:s3cret@redis?foo=bar", "option foo is not known; known are db,"),
        ("redis://:s3cret@redis?foo", "option foo is not known; known are db,"),
        ("redis://:s3cret@redis?DB=1", "option DB is not known"),
        ("redis://redis?1s3cret=1", "an option is not known"),
        ("rediss://redis?ssl_cert_reqs=CERT_NONE", "option ssl_cert_reqs is none of none,"),
        ("rediss://redis?ssl_ca_certs=/s3cret", "option ssl_ca_certs names no file of cert"),
        ("redis://:p?s3cret@redis:6379/0", "not a URL; a password's special characters are %-"),
        ("redis://:p#s3cret@redis:6379/0", "not a URL; a password's special characters are %-"),
        ("redis://:1/s3cret@redis:6379/0", "not a URL; a password's special characters are %-"),
    ],
)
def test_what_is_not_known_is_refused_without_the_secret(url: str, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_url(url, setting=SETTING)

    assert str(refused.value).startswith(f"{SETTING}: {told}")
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert "\n" not in str(refused.value)


def test_a_file_of_certificates_is_one(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.touch()

    taken = read_url(f"rediss://redis?ssl_ca_certs={certifi.where()}", setting=SETTING)

    assert taken.passed_over == ()
    with pytest.raises(SettingsError, match="ssl_ca_certs names no file of certificates"):
        read_url(f"rediss://redis?ssl_ca_certs={path}", setting=SETTING)
