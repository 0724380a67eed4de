"""Which `BCS_...` names there may be, beside those of the settings. Pure.

A name that is misspelled would leave its setting at the default, and nobody would hear of it: a
service whose token is not asked for looks like any other.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

ENV_PREFIX = "BCS_"

# Read past the settings, by this process.
OWN_NAMES = frozenset({"BCS_SECRETS_DIR", "BCS_FAILPOINT"})
TEST_PREFIX = "BCS_TEST_"

# Read by docker-compose.yml, whose `.env` may be this process's environment, too.
COMPOSITION_NAMES = frozenset(
    {
        "BCS_IMAGE_TAG",
        "BCS_KAFKA_HOST",
        "BCS_KAFKA_PORT",
        "BCS_PORT",
        "BCS_POSTGRES_PORT",
        "BCS_REDIS_PORT",
    }
)

# What Kubernetes tells every container of a service named `bcs`, or `bcs-...`:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(
    r"BCS(_[A-Z0-9_]+)?"
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")  # in `BCS_PORT`, `BCS_..._PORT`


def find_unknown(variables: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """Return a sentence for each name that nobody reads, with the name that it is nearest to.

    Args:
        variables: what is in the environment, or the names of a secrets directory's files.
        settings: the names of all settings, with their prefix.
    """
    known = sorted({*settings, *OWN_NAMES})
    return [
        f"{name}: no such setting; the nearest is {_nearest(name.upper(), known)}"
        for name, value in sorted(variables.items())
        if _is_unknown(name.upper(), value, known)
    ]


def _is_unknown(name: str, value: str, known: Collection[str]) -> bool:
    if not name.startswith(ENV_PREFIX) or name.startswith(TEST_PREFIX):
        return False
    if name in known or name in COMPOSITION_NAMES or _SERVICE_LINK.fullmatch(name):
        return False
    return not (name.endswith("_PORT") and _SERVICE_ADDRESS.match(value))


def _nearest(name: str, known: Collection[str]) -> str:
    [nearest] = get_close_matches(name, known, n=1, cutoff=0)
    return nearest
