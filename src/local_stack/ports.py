"""Ports of this machine."""

import socket
import sys

LOCALHOST = "127.0.0.1"


def find_free_port() -> int:
    """Return a port that nobody listens on, and that nobody is given while this process runs.

    It stays bound without listening: connections are refused, and a server may listen on it and
    come back to it after a kill. All servers allow that, by SO_REUSEADDR; Linux alone does.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((LOCALHOST, 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        holder.detach()  # open for as long as the process runs
    else:
        holder.close()
    return port


def is_port_free(port: int, host: str = LOCALHOST) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are only fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on the port."""
    try:
        with socket.create_connection((LOCALHOST, port), timeout=1):
            return True
    except OSError:
        return False
