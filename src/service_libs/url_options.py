"""The options in a URL: which are taken, which give way to ours, and which stop the start.

A driver would let them override what the service relies on, or fail at each connection with a text
that repeats the URL. No message of these repeats a value.
"""

import re
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import structlog

from service_libs.exceptions import SettingsError

logger = structlog.get_logger(__name__)

# What may be repeated: anything else may be a part of a password that was not encoded.
_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,39}", re.ASCII)

Check = Callable[[str], str | None]  # from a value to what is wrong with it

MOST_DIGITS = 9  # no option has a longer number, and a driver may refuse one


def take_options(
    setting: str,
    given: Mapping[str, Sequence[str]],
    *,
    taken: Mapping[str, Check],
    passed_over: Collection[str],
) -> dict[str, str]:
    """Return the options that are taken, with their values; those to pass over are left out.

    Args:
        setting: the name of the setting that holds the URL.
        given: the options in it, each with its values.
        taken: what is known, and what its value must be.
        passed_over: what the driver knows, and the service itself decides.

    Raises:
        SettingsError: an option is not known, is given twice, or has a value that is none.
    """
    options = {}
    for name, values in given.items():
        if name in passed_over:
            continue
        if name not in taken:
            raise SettingsError(f"{setting}: {_unknown(name)}; known are {', '.join(taken)}")
        if len(values) != 1:
            raise SettingsError(f"{setting}: option {name} is given more than once")
        if fault := taken[name](values[0]):
            raise SettingsError(f"{setting}: option {name} {fault}")
        options[name] = values[0]
    return options


def log_passed_over(setting: str, names: Sequence[str]) -> None:
    """Log that these options of the URL have no effect."""
    if names:
        logger.warning("url_options_passed_over", setting=setting, options=list(names))


def any_text(_value: str) -> str | None:
    """Take whatever there is."""
    return None


def whole_number(least: int, most: int | None = None) -> Check:
    """Return a check for a whole number of that range."""

    def check(value: str) -> str | None:
        is_number = value.isascii() and value.isdecimal() and len(value) <= MOST_DIGITS
        if is_number and least <= int(value) <= (int(value) if most is None else most):
            return None
        return f"is no whole number from {least} " + ("on" if most is None else f"to {most}")

    return check


def one_of(*names: str) -> Check:
    """Return a check for one of these words."""

    def check(value: str) -> str | None:
        return None if value in names else f"is none of {', '.join(names)}"

    return check


def a_file(value: str) -> str | None:
    """Check for a file that can be read."""
    try:
        with Path(value).open("rb"):
            return None
    except (OSError, ValueError):
        return "names no file that can be read"


def certificates(value: str) -> str | None:
    """Check for a file of certificates to trust."""
    try:
        ssl.create_default_context(cafile=value)
    except (OSError, ValueError):  # an error of TLS is one of the system
        return "names no file of certificates that can be read"
    return None


def _unknown(name: str) -> str:
    return f"option {name} is not known" if _NAME.fullmatch(name) else "an option is not known"
