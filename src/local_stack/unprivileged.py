"""What root needs to run a server that refuses to run as root.

The server runs as `nobody`, who may not be able to reach a directory below root's home or a
private temporary one. Nobody's rights are left as they are: what must be reached is put where
everybody can.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

UNPRIVILEGED_USER = "nobody"  # every system has it
SHARED_DIRECTORY = Path("/var/tmp")  # noqa: S108 - what is made here is checked to be root's own
PREFIX = "batch-conductor"
TRAVERSE = 0o001


def find_unprivileged_user() -> tuple[int, int] | None:
    """Return user and group id to run a server with, or None where we are not root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def make_reachable_directory(wanted: Path, user: tuple[int, int]) -> Path:
    """Return a directory that the user owns and reaches: `wanted`, or one that stands for it.

    Raises:
        PermissionError: somebody else made the one that would stand for it.
    """
    path = wanted if _is_reachable(wanted) else _shared_path("data", str(wanted.absolute()))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(path, {0, user[0]})
    os.chown(path, *user)
    return path


def remove_reachable_directory(wanted: Path) -> None:
    """Remove the directory, and the one that stands for it."""
    for path in (wanted, _shared_path("data", str(wanted.absolute()))):
        shutil.rmtree(path, ignore_errors=True)


def make_reachable_copy(root: Path, parts: Sequence[Path], *, identity: str) -> Path:
    """Return the root of the parts, or of a copy of them that everybody can read.

    There is one copy for each identity, which names the content.
    """
    if all(_is_reachable(root / part) for part in parts):
        return root
    copy = _shared_path("programs", identity)
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=SHARED_DIRECTORY, prefix=PREFIX) as scratch:
            made = Path(scratch) / "copy"
            for part in parts:
                if (root / part).exists():
                    shutil.copytree(root / part, made / part, symlinks=True)
            # At once: another run sees all of it or nothing; and if that was faster, so be it.
            with contextlib.suppress(OSError):
                made.rename(copy)
    check_owner(copy, {os.geteuid()})
    return copy


def check_owner(path: Path, owners: set[int]) -> None:
    """Refuse what somebody else put where everybody may.

    Raises:
        PermissionError: it belongs to none of the owners.
    """
    if path.stat().st_uid not in owners:
        raise PermissionError(f"{path} belongs to somebody else")


def _is_reachable(path: Path) -> bool:
    parents = [parent for parent in path.absolute().parents if parent.exists()]
    return all(parent.stat().st_mode & TRAVERSE for parent in parents)


def _shared_path(kind: str, identity: str) -> Path:
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return SHARED_DIRECTORY / f"{PREFIX}-{kind}-{digest}"
