"""What the settings of all services have in common: their types, and how they are read.

Settings build nothing; nothing else reads the environment.
"""

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings
from pydantic_settings import SettingsError as UnreadableSettingError

from service_libs.exceptions import SettingsError

MAX_PORT = 65535
MEBIBYTE = 1024 * 1024
CALLERS_MARGIN_SECONDS = 5  # before callers give up, they have an answer
DEFAULT_SECRETS_DIR = Path("/run/secrets")

_BROKER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_TOKEN = re.compile(r"[!-~]([ -~]*[!-~])?")

Default = TypeVar("Default")
SettingsType = TypeVar("SettingsType", bound=BaseSettings)

# Read past the settings, by the process itself.
_OWN_NAMES = ("SECRETS_DIR", "FAILPOINT")
_TEST_NAMES = "TEST_"

# What Kubernetes gives every container of a service named `bcs`, or `bcs-...`:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = (
    r"(_[A-Z0-9_]+)?"
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")  # in `BCS_PORT`, `BCS_..._PORT`


class Environment(StrEnum):
    """Where the service runs."""

    TESTING = "testing"
    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _check_brokers(value: str) -> str:
    for address in value.split(","):
        match = _BROKER.fullmatch(address.strip())
        if match is None or not 1 <= int(match["port"]) <= MAX_PORT:
            raise PydanticCustomError("brokers", "not host:port[,host:port...], ports 1 to 65535")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.strip():
        raise PydanticCustomError("blank", "empty: give a token, or unset it to ask for none")
    if not _TOKEN.fullmatch(text):
        raise PydanticCustomError(
            "token", "no header can hold it: printable ASCII, without spaces at its ends"
        )
    return value


Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
Seconds = Annotated[float, Field(gt=0)]
Brokers = Annotated[str, AfterValidator(_check_brokers)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]


def setting(default: Default, text: str, **bounds: Any) -> Default:
    """Return a setting for the class of all: its default, what it means, and its bounds."""
    field: Default = Field(default, description=text, **bounds)
    return field


def load(
    settings_type: type[SettingsType],
    *,
    refuse_unknown: bool = False,
    read_elsewhere: Collection[str] = (),
) -> SettingsType:
    """Return the settings, from variables, and from files in a secrets directory.

    Args:
        settings_type: the settings, with the prefix of their variables.
        refuse_unknown: whether a name with the prefix that is no setting is a bad setting, too.
        read_elsewhere: names with the prefix that others read: a composition's, for example.

    Raises:
        SettingsError: a setting is bad; its message is one line that names each, without its value.
    """
    prefix = settings_type.model_config["env_prefix"]
    secrets = _secrets_dir(f"{prefix}SECRETS_DIR")
    faults = _find_unknown(settings_type, secrets, read_elsewhere) if refuse_unknown else []
    try:
        settings = settings_type(_secrets_dir=secrets)
    except ValidationError as exc:
        faults += [_describe(prefix, error) for error in exc.errors()]
    except UnreadableSettingError:
        faults.append(f"{prefix}SECRETS_DIR: a file in {secrets} cannot be read")
    else:
        if not faults:
            return settings
    raise SettingsError("; ".join(faults))


def _describe(prefix: str, error: ErrorDetails) -> str:
    """Return what is wrong; what is wrong between settings names them itself."""
    name = ".".join(map(str, error["loc"])).upper()
    return f"{prefix}{name}: {error['msg']}" if name else error["msg"]


def _find_unknown(
    settings_type: type[BaseSettings], secrets: Path | None, read_elsewhere: Collection[str]
) -> list[str]:
    """Return what nobody reads: variables, and secrets, whose loss would be the worse one."""
    prefix = settings_type.model_config["env_prefix"]
    names = [f"{prefix}{name.upper()}" for name in settings_type.model_fields]
    files = {path.name: "" for path in secrets.iterdir()} if secrets else {}
    return [
        fault
        for given in (os.environ, files)
        for fault in _unknown_among(given, names, prefix=prefix, read_elsewhere=read_elsewhere)
    ]


def _secrets_dir(variable: str) -> Path | None:
    """Return where secrets are; a directory that is named must be there, or a token would be lost.

    Raises:
        SettingsError: it is not.
    """
    named = os.environ.get(variable)
    if named is None:
        return DEFAULT_SECRETS_DIR if DEFAULT_SECRETS_DIR.is_dir() else None
    if not named or not Path(named).is_dir():
        raise SettingsError(f"{variable}: not a directory")
    return Path(named)


def _unknown_among(
    variables: Mapping[str, str],
    settings: Collection[str],
    *,
    prefix: str,
    read_elsewhere: Collection[str] = (),
) -> list[str]:
    """Return a sentence for each name that nobody reads, with the name that it is nearest to.

    A name that is misspelled would leave its setting at the default, and nobody would hear of it: a
    service whose token is not asked for looks like any other.

    Args:
        variables: what is in the environment, or the names of a secrets directory's files.
        settings: the names of all settings, with their prefix.
        prefix: what the names of the service begin with, the underscore included.
        read_elsewhere: names with that prefix that others read.
    """
    known = sorted({*settings, *(f"{prefix}{name}" for name in _OWN_NAMES)})
    service_link = re.compile(re.escape(prefix.rstrip("_")) + _SERVICE_LINK)
    return [
        f"{name}: no such setting; the nearest is {_nearest(name.upper(), known)}"
        for name, value in sorted(variables.items())
        if name.upper().startswith(prefix)
        and not name.upper().startswith(f"{prefix}{_TEST_NAMES}")
        and name.upper() not in {*known, *read_elsewhere}
        and not service_link.fullmatch(name.upper())
        and not (name.upper().endswith("_PORT") and _SERVICE_ADDRESS.match(value))
    ]


def _nearest(name: str, known: Collection[str]) -> str:
    [nearest] = get_close_matches(name, known, n=1, cutoff=0)
    return nearest
