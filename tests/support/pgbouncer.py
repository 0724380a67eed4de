"""PgBouncer in front of a Postgres, both in containers that share their network."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.composition import run
from tests.support.containers import POSTGRES_IMAGE, ContainerServer
from tests.support.servers import ping_postgres, wait_until_ready

IMAGE = "bcs-pgbouncer-test"
SOURCE = Path(__file__).parents[1] / "containers" / "pgbouncer"
PORT = 6432
CONFIGURATION = """\
[databases]
bcs = host=127.0.0.1 port=5432 dbname=bcs user=bcs password=bcs
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = {ignored}
"""


@contextmanager
def serve_postgres_behind_pgbouncer(mode: str, *, size: int, ignored: str) -> Iterator[str]:
    """Give the address of the PgBouncer; the image is built where it is not there."""
    run(
        "docker", "build", *shlex.split(os.environ.get("BUILD_FLAGS", "")), "-t", IMAGE, str(SOURCE)
    )
    postgres = ContainerServer(POSTGRES_IMAGE, PORT)
    postgres.container.with_envs(POSTGRES_USER="bcs", POSTGRES_PASSWORD="bcs", POSTGRES_DB="bcs")
    postgres.start()
    bouncer = ""
    try:
        configuration = CONFIGURATION.format(port=PORT, mode=mode, size=size, ignored=ignored)
        start = f"f=$(mktemp) && printf %s {shlex.quote(configuration)} > $f && exec pgbouncer $f"
        network = f"container:{postgres.container.get_wrapped_container().id}"
        options = ("--detach", "--user", "postgres", "--network", network, "--entrypoint", "sh")
        bouncer = run("docker", "run", *options, IMAGE, "-c", start).strip()
        url = f"postgresql://bcs@{postgres.host}:{postgres.published_port}/bcs"
        wait_until_ready(lambda: ping_postgres(url))
        yield url
    finally:
        if bouncer:
            run("docker", "rm", "--force", bouncer)
        postgres.stop()
