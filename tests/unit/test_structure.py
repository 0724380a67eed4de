"""What a reviewer would otherwise have to count."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "batch_conductor_service"
MODULES = sorted((ROOT / "src").rglob("*.py"))
PORTS = PACKAGE / "protocols.py"  # a table of contents, which is looked things up in
MAX_APP_LINES = 50
MAX_MODULE_LINES = 300
MAX_TEST_LINES = 400
MAX_FUNCTION_LINES = 45


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_the_application_module_stays_small() -> None:
    assert line_count(PACKAGE / "app.py") <= MAX_APP_LINES


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_has_a_docstring_and_a_size_one_can_read(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert path == PORTS or line_count(path) <= MAX_MODULE_LINES
    assert ast.get_docstring(tree) or not tree.body


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name)
def test_a_test_file_has_a_size_one_can_read(path: Path) -> None:
    assert line_count(path) <= MAX_TEST_LINES


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_are_short(path: Path) -> None:
    long = [
        function.name
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno >= MAX_FUNCTION_LINES
    ]

    assert not long


def test_routes_are_thin() -> None:
    """Parse with the schema, call one service, return the schema."""
    longest = max(
        (function.end_lineno or 0) - function.body[0].lineno
        for module in (
            PACKAGE / "api" / "pipelines.py",
            PACKAGE / "api" / "batches.py",
            ROOT / "src" / "service_libs" / "http" / "health.py",
            ROOT / "src" / "service_libs" / "http" / "metrics.py",
        )
        for function in functions(module)
        if function.decorator_list
    )

    assert longest < 15


def test_only_the_settings_read_the_environment() -> None:
    readers = [name(path) for path in MODULES if "os.environ" in path.read_text()]

    assert readers == [
        "src/local_stack/service.py",  # hands it on to the service that it starts
        "src/service_libs/failpoints.py",  # no setting: it is there for tests alone
        "src/service_libs/settings.py",
    ]


def test_the_migrations_directory_does_not_shadow_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
