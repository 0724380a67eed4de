"""The URL of Postgres: what of it the driver is given, in the driver's words.

SQLAlchemy hands every option on as a keyword argument, and asyncpg knows few of libpq's; but what
it knows of TLS it reads from an address of libpq's form, files in the home directory included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from service_libs.exceptions import SettingsError
from service_libs.url_options import (
    a_file,
    any_text,
    certificates,
    one_of,
    take_options,
    whole_number,
)

DRIVER = "postgresql+asyncpg"

_NAMES = frozenset({"postgres", "postgresql"})  # before any `+driver`
_MOST_PORT = 65535
_VERIFYING = frozenset({"verify-ca", "verify-full"})
_TLS_VERSION = one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

_BAD_PORT = "its port is no number from 1 to 65535"
_BAD_SERVERS = "its servers are not host=a:1&host=b:2 with a port each"

# libpq's word for what the driver or SQLAlchemy names otherwise.
_LIBPQS_WORD = {"ssl": "sslmode", "database": "dbname"}

_OF_SERVERS = ("host", "port")
_OF_URL = {"user": any_text, "password": any_text, "dbname": any_text}
_OF_TLS = {
    "sslmode": one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": certificates,
    "sslcert": a_file,
    "sslkey": a_file,
    "sslcrl": a_file,
    "sslpassword": any_text,
    "sslnegotiation": one_of("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSION,
    "ssl_max_protocol_version": _TLS_VERSION,
}
_OF_SESSION = {"application_name": any_text, "options": any_text}
_OF_CACHES = {
    "statement_cache_size": whole_number(0),
    "prepared_statement_cache_size": whole_number(0),
}
# Behind a pooler the next transaction may be on another server: no cache, and no statement with a
# name, which the driver then sends together with its values. `str` makes the empty name.
_WITHOUT_CACHES = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
_OF_DRIVER = {
    "connect_timeout": whole_number(0),
    "passfile": a_file,
    # The driver has neither: they are taken where nothing is asked for.
    "channel_binding": one_of("disable", "prefer"),
    "gssencmode": one_of("disable", "prefer"),
}
_TAKEN = _OF_TLS | _OF_SESSION | _OF_CACHES | _OF_DRIVER | _OF_URL
# What the service decides itself.
_PASSED_OVER = frozenset({"target_session_attrs", "command_timeout", "timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where the database is, and how to connect to it.

    Attributes:
        url: for our driver, without options, save those that name several servers.
        arguments: what the driver is given beside the URL.
        server_settings: what the server gets to know of the session; ours come before them.
        connect_timeout_seconds: as the URL has it; None leaves it to us.
        passed_over: the names of the options that were left out.
    """

    url: URL
    arguments: Mapping[str, object]
    server_settings: Mapping[str, str]
    connect_timeout_seconds: float | None
    passed_over: tuple[str, ...]

    @property
    def place(self) -> str:
        """The address for a person: no password, no options."""
        return self.url.set(query={}).render_as_string(hide_password=True)


class _BadUrlError(ValueError):
    """What is wrong with the URL, without anything secret."""


def read_address(text: str, *, setting: str) -> DatabaseAddress:
    """Return the address for our driver, also when it was written for another one or for libpq.

    Args:
        text: the URL.
        setting: the name of the setting that has it.

    Raises:
        SettingsError: it is none, not one of Postgres, or has an option that is not known. Nothing
            secret is repeated.
    """
    try:
        return _read(text, setting)
    except _BadUrlError as exc:
        raise SettingsError(f"{setting}: {exc}") from None


def _read(text: str, setting: str) -> DatabaseAddress:
    url = _read_url(text)
    given = _in_libpqs_words(url)
    servers = {name: given.pop(name) for name in _OF_SERVERS if name in given}
    # SQLAlchemy reads one value that is a tuple as the beginning of several.
    query = {name: values[0] if len(values) == 1 else values for name, values in servers.items()}
    options = take_options(setting, given, taken=_TAKEN, passed_over=_PASSED_OVER)
    if options.get("sslmode") in _VERIFYING and "sslrootcert" not in options:
        raise _BadUrlError("option sslmode needs sslrootcert, a file to verify by")
    return DatabaseAddress(
        url=_checked(
            url.set(
                drivername=DRIVER,
                username=options.get("user", url.username),
                password=options.get("password", url.password),
                database=options.get("dbname", url.database),
                query=query,
            )
        ),
        arguments=_arguments(options),
        server_settings={name: options[name] for name in _OF_SESSION if name in options},
        # As in libpq, 0 is as good as none.
        connect_timeout_seconds=int(options.get("connect_timeout", "0")) or None,
        passed_over=tuple(sorted(given.keys() & _PASSED_OVER)),
    )


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        raise _BadUrlError("not a URL") from None
    except ValueError:  # of what stands after the colon
        raise _BadUrlError(_BAD_PORT) from None
    if url.get_backend_name() not in _NAMES:
        raise _BadUrlError("not a URL of PostgreSQL")
    return url


def _in_libpqs_words(url: URL) -> dict[str, tuple[str, ...]]:
    """Return the options with their values, and those of two names under one."""
    given: dict[str, tuple[str, ...]] = {}
    for name, values in url.normalized_query.items():
        known = _LIBPQS_WORD.get(name, name)
        given[known] = (*given.get(known, ()), *values)
    return given


def _arguments(options: Mapping[str, str]) -> dict[str, object]:
    caches = {name: int(options[name]) for name in _OF_CACHES if name in options}
    arguments: dict[str, object] = {**caches, **(_WITHOUT_CACHES if 0 in caches.values() else {})}
    if of_tls := {name: options[name] for name in _OF_TLS if name in options}:
        arguments["dsn"] = f"postgresql://?{urlencode(of_tls)}"
    if "passfile" in options:
        arguments["passfile"] = options["passfile"]
    return arguments


def _checked(url: URL) -> URL:
    """Return the URL, if the driver can make out its servers and their ports."""
    try:
        _, arguments = url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        raise _BadUrlError(_BAD_SERVERS) from None
    ports = arguments.get("port", url.port)
    for port in ports if isinstance(ports, list) else [ports]:
        if port is not None and not 1 <= port <= _MOST_PORT:
            raise _BadUrlError(_BAD_PORT)
    return url
