"""What Redis refuses, in a sentence for whoever set it up: the command, and the right it needs.

The server's own text is never repeated: of a pipeline it holds the command with its values.
"""

import re
from dataclasses import dataclass

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoPermissionError,
    ResponseError,
)

UNAVAILABLE = "Redis cannot be reached or refuses."

_OF_CLUSTERS = (AskError, ClusterCrossSlotError, ClusterDownError)  # MovedError is an AskError
_REFUSED_COMMAND = re.compile(r"'([A-Za-z][A-Za-z0-9.|-]*)' command")
_REFUSED_IN_SCRIPT = re.compile(r"ACL failure in script|user executing the script can't")
_PIPELINED_COMMAND = re.compile(r"Command # \d+ \(([A-Za-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisNames:
    """What a service calls its own in Redis and in messages about it.

    Attributes:
        service: the service, shortly.
        setting: the setting that holds the URL.
        key_patterns: the keys that its user needs the right to.
        server_run: the key of the hash that names the server's data.
    """

    service: str
    setting: str
    key_patterns: str
    server_run: str


def describe(error: BaseException, names: RedisNames, command: str | None = None) -> str:
    """Return what is refused and what is missing; one sentence for all that is no refusal.

    Args:
        error: what the driver raised.
        names: the service's.
        command: the command that it is about, where that is known.
    """
    match error:
        case NoPermissionError():
            return _describe_missing_right(str(error), names, command)
        case AuthenticationError():
            return f"Redis refuses the user or the password of {names.setting}."
        case _ if is_of_cluster(error):
            refused = command or _pipelined(str(error)) or "a command"
            mode = f"Redis runs in cluster mode and refuses {refused}"
            return f"{mode}: {names.service} needs a single primary."
        case ResponseError() if _REFUSED_IN_SCRIPT.search(str(error)):
            return _describe_missing_right(str(error), names, "a script")  # 7.0 does not say which
    return UNAVAILABLE


def is_refusal(error: object) -> bool:
    """Whether it is for want of a right, or for the mode that the server runs in."""
    return isinstance(error, NoPermissionError) or is_of_cluster(error)


def is_of_cluster(error: object) -> bool:
    """Whether only a server in cluster mode says so."""
    return isinstance(error, _OF_CLUSTERS)


def _describe_missing_right(text: str, names: RedisNames, command: str | None) -> str:
    if match := _REFUSED_COMMAND.search(text):
        name = match[1].lower()
        shown = name.upper().replace("|", " ")
        return f"Redis refuses {shown}: its user lacks the right to it, +{name}."
    shown = command or _pipelined(text) or "a command"
    if "access" in text:
        missing = names.key_patterns
        return f"Redis refuses a key to {shown}: its user lacks the right to it, {missing}."
    return f"Redis refuses a command of {shown}: its user lacks the right to it."


def _pipelined(text: str) -> str | None:
    match = _PIPELINED_COMMAND.search(text)
    return match[1].upper() if match else None
