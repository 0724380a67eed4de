"""Which names of variables with a service's prefix there may be, beside its settings. Pure.

A name that is misspelled would leave its setting at the default, and nobody would hear of it: a
service whose token is not asked for looks like any other.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

# Read past the settings, by the process itself.
OWN_NAMES = ("SECRETS_DIR", "FAILPOINT")
TEST_NAMES = "TEST_"

# What Kubernetes gives every container of a service named `bcs`, or `bcs-...`:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = (
    r"(_[A-Z0-9_]+)?"
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")  # in `BCS_PORT`, `BCS_..._PORT`


def find_unknown(
    variables: Mapping[str, str],
    settings: Collection[str],
    *,
    prefix: str,
    read_elsewhere: Collection[str] = (),
) -> list[str]:
    """Return a sentence for each name that nobody reads, with the name that it is nearest to.

    Args:
        variables: what is in the environment, or the names of a secrets directory's files.
        settings: the names of all settings, with their prefix.
        prefix: what the names of the service begin with, the underscore included.
        read_elsewhere: names with that prefix that others read.
    """
    known = sorted({*settings, *(f"{prefix}{name}" for name in OWN_NAMES)})
    service_link = re.compile(re.escape(prefix.rstrip("_")) + _SERVICE_LINK)
    return [
        f"{name}: no such setting; the nearest is {_nearest(name.upper(), known)}"
        for name, value in sorted(variables.items())
        if name.upper().startswith(prefix)
        and not name.upper().startswith(f"{prefix}{TEST_NAMES}")
        and name.upper() not in {*known, *read_elsewhere}
        and not service_link.fullmatch(name.upper())
        and not (name.upper().endswith("_PORT") and _SERVICE_ADDRESS.match(value))
    ]


def _nearest(name: str, known: Collection[str]) -> str:
    [nearest] = get_close_matches(name, known, n=1, cutoff=0)
    return nearest
