"""Where a server may have its files that runs as somebody else."""

import os
import stat
from pathlib import Path

import pytest

from local_stack import unprivileged
from local_stack.unprivileged import (
    find_unprivileged_user,
    make_reachable_copy,
    make_reachable_directory,
    remove_reachable_directory,
)

MYSELF = (os.getuid(), os.getgid())


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that others cannot go through, with the shared place elsewhere."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(unprivileged, "SHARED_DIRECTORY", shared)
    directory = tmp_path / "private"
    directory.mkdir(mode=0o700)
    return directory


def test_only_root_needs_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_unprivileged_user() is None

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = find_unprivileged_user()
    assert user is not None
    assert user[0] != 0


def test_unreachable_directory_has_a_stand_in_which_stays_the_same(private: Path) -> None:
    wanted = private / "data"

    made = make_reachable_directory(wanted, MYSELF)

    assert made.parent == unprivileged.SHARED_DIRECTORY
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert make_reachable_directory(wanted, MYSELF) == made
    assert not wanted.exists()


def test_rights_of_what_lies_above_are_left_alone(private: Path) -> None:
    make_reachable_directory(private / "data", MYSELF)

    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_reachable_programs_are_taken_where_they_are() -> None:
    assert make_reachable_copy(Path("/"), [Path("usr")], identity="1.0") == Path("/")


def test_stand_in_of_somebody_else_is_refused(private: Path) -> None:
    made = make_reachable_directory(private / "data", MYSELF)
    stranger = made.stat().st_uid + 1

    with pytest.raises(PermissionError, match="belongs to somebody else"):
        unprivileged.check_owner(made, {stranger})


def test_removing_takes_the_stand_in_too(private: Path) -> None:
    made = make_reachable_directory(private / "data", MYSELF)

    remove_reachable_directory(private / "data")

    assert not made.exists()


def test_programs_are_copied_once_with_their_places_kept(private: Path) -> None:
    program = private / "package" / "bin" / "program"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    parts = [Path("package"), Path("absent.libs")]

    copy = make_reachable_copy(private, parts, identity="1.0")

    assert os.access(copy / "package" / "bin" / "program", os.X_OK)
    assert make_reachable_copy(private, parts, identity="1.0") == copy
    assert list(copy.parent.iterdir()) == [copy]


def test_another_version_is_copied_anew(private: Path) -> None:
    (private / "package").mkdir()

    copies = {make_reachable_copy(private, [Path("package")], identity=v) for v in ("1", "2")}

    assert len(copies) == 2
