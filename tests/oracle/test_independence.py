import ast
from pathlib import Path

import tests.support.oracle


def test_it_imports_nothing_of_the_service() -> None:
    """Nor anything of these tests that might: only what lies beside it."""
    folder = Path(tests.support.oracle.__path__[0])
    found, waiting = set[str](), ["judge", "histories"]
    while waiting:
        tree = ast.parse((folder / f"{waiting.pop()}.py").read_text())
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {str(node.module) for node in froms if node.level == 0} | {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        waiting += [name.rpartition(".")[2] for name in names - found if "oracle." in name]
        found |= names

    assert not {name for name in found if name.startswith("batch_conductor_service")}
    ours = {name for name in found if name.startswith("tests")}
    assert all(name.startswith("tests.support.oracle.") for name in ours)
    assert "tests.support.oracle.wire" in ours
