"""The size of the source stays within its limits, and the walkthrough is true."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.house import WALKTHROUGH, load_house, named_paths

MAX_WALKTHROUGH_LINES = 80  # two pages
SECTIONS = ("The way of one event", "The way of one question", "Where is ... done?")

house = load_house()


@pytest.mark.parametrize("row", house.count_sizes(), ids=lambda row: row.name)
def test_no_limit_is_passed(row: Any) -> None:  # noqa: ANN401 - a type of the script
    assert row.is_within


def test_a_cycle_of_imports_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text("import two\n")
    (tmp_path / "two.py").write_text("from three import name\n")
    (tmp_path / "three.py").write_text("def late():\n    import one\n")
    (tmp_path / "four.py").write_text("import one\n")
    monkeypatch.setattr(house, "SOURCE", tmp_path)

    assert house.modules_in_cycles() == ["one", "three", "two"]


def test_what_is_entered_is_noted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("called.py", "loaded.py")]
    functions = []
    for path in paths:
        path.write_text("class Any:\n    pass\n\ndef function():\n    pass\n")
        names: dict[str, object] = {}
        exec(compile(path.read_text(), path, "exec"), names)  # noqa: S102 - written just above
        functions.append(names["function"])
    monkeypatch.setattr(house, "SOURCE", tmp_path)

    with house.entered_files() as files:
        exec(compile(paths[1].read_text(), paths[1], "exec"), {})  # noqa: S102 - as above
        functions[0]()  # type: ignore[operator] # a function

    assert files == ["called.py"]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_of_the_walkthrough_exists(section: str) -> None:
    paths = named_paths(section)

    assert paths
    assert [path for path in paths if not path.exists()] == []


def test_the_walkthrough_is_short() -> None:
    assert len(WALKTHROUGH.read_text(encoding="utf-8").splitlines()) <= MAX_WALKTHROUGH_LINES
