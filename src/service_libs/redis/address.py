"""The URL of Redis: what of it the client is given.

redis-py lets a URL override the client's own arguments, and hands on what it does not know. Three
of its options change what replies look like, and would break every reading.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from service_libs.exceptions import SettingsError
from service_libs.url_options import (
    a_file,
    any_text,
    certificates,
    one_of,
    take_options,
    whole_number,
)

_SCHEMES = frozenset({"redis", "rediss", "unix"})
_FLAG = one_of("true", "false", "yes", "no", "1", "0", "True", "False")
_DATABASE = whole_number(0)

_TAKEN = {
    "db": _DATABASE,
    "username": any_text,
    "password": any_text,
    "client_name": any_text,
    "health_check_interval": whole_number(0),
    "socket_keepalive": _FLAG,
}
_TAKEN_OF_TLS = {
    "ssl_ca_certs": certificates,
    "ssl_certfile": a_file,
    "ssl_keyfile": a_file,
    "ssl_password": any_text,
    "ssl_cert_reqs": one_of("none", "optional", "required"),
    "ssl_check_hostname": _FLAG,
}
# What the client decides itself, from settings or for its own reading.
_PASSED_OVER = frozenset(
    {
        "decode_responses",
        "encoding",
        "encoding_errors",
        "legacy_responses",
        "max_connections",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_read_size",
        "socket_timeout",
        "timeout",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A URL that holds only what is taken.

    Attributes:
        text: the URL; may hold a password.
        passed_over: the names of the options that were left out.
    """

    text: str
    passed_over: tuple[str, ...]


def read_url(text: str, *, setting: str) -> RedisUrl:
    """Return the URL with the options that we know; one that is read again stays as it is.

    Args:
        text: the URL.
        setting: the name of the setting that holds it.

    Raises:
        SettingsError: it is none, or has an option that is not known. Nothing secret is repeated.
    """
    parts = _split(text, setting)
    _check_port(parts, setting)
    _check_path(parts, setting)
    given = parse_qs(parts.query, keep_blank_values=True)
    has_tls = parts.scheme == "rediss"
    known = _TAKEN | _TAKEN_OF_TLS if has_tls else _TAKEN
    passed_over = _PASSED_OVER if has_tls else _PASSED_OVER | _TAKEN_OF_TLS.keys()
    options = take_options(setting, given, taken=known, passed_over=passed_over)
    address = text.partition("?")[0]
    return RedisUrl(
        text=f"{address}?{urlencode(options)}" if options else address,
        passed_over=tuple(sorted(given.keys() - options.keys())),
    )


def _split(text: str, setting: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:  # its text repeats the URL
        raise SettingsError(f"{setting}: not a URL of Redis") from None
    if parts.scheme not in _SCHEMES or not text.startswith(f"{parts.scheme}://"):
        raise SettingsError(f"{setting}: not a URL of Redis")
    # Where a password has one of `/?#`, its end stands in the parts that follow.
    if parts.fragment or "@" in parts.path + parts.query:
        raise SettingsError(f"{setting}: not a URL; a password's special characters are %-encoded")
    return parts


def _check_port(parts: SplitResult, setting: str) -> None:
    try:
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        is_port = False
    if not is_port:
        raise SettingsError(f"{setting}: its port is no number from 1 to 65535")


def _check_path(parts: SplitResult, setting: str) -> None:
    """Refuse a database that is no number: redis-py would take the first."""
    database = unquote(parts.path).removeprefix("/")
    if parts.scheme != "unix" and database and _DATABASE(database):
        raise SettingsError(f"{setting}: its database is no number")
