"""The page at /demo: what is served, and when. How it is used is tried in a browser."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

import api_gateway_service
from api_gateway_service.routers.demo_routes import FILE_TYPES, PAGE
from api_gateway_service.routing import DEMO, DEMO_FILES, match_route
from tests.support.browser.npm import install_packages
from tests.support.gateway.app import gateway_app
from tests.support.pipelines import PIPELINES_FILE

FOLDER = Path(api_gateway_service.__file__).parent / "demo"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_app(environment="development") as gateway:
        yield gateway.client


async def test_every_file_of_the_folder_is_served_and_no_other(client: httpx.AsyncClient) -> None:
    page = await client.get("/demo")

    assert page.text == (FOLDER / PAGE).read_text("utf-8")
    assert {path.name for path in FOLDER.iterdir()} == {PAGE, *FILE_TYPES}
    for name, media_type in FILE_TYPES.items():
        file = await client.get(f"/demo/{name}")
        assert (file.status_code, file.headers["Content-Type"]) == (200, media_type)
        assert file.content == (FOLDER / name).read_bytes()
    for name in ("other.js", PAGE, "..%2fconfig.py"):
        assert (await client.get(f"/demo/{name}")).status_code == 404


async def test_the_page_may_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/demo")

    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    for path in FOLDER.iterdir():
        addresses = set(re.findall(r"https?://[^\s\"'`]+", path.read_text("utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks


@pytest.mark.parametrize("environment", ["testing", "production"])
async def test_it_is_there_in_development_only(environment: str) -> None:
    async with gateway_app(environment=environment) as gateway:
        answers = [await gateway.client.get(path) for path in ("/demo", "/demo/app.js")]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_its_routes_have_labels_without_names() -> None:
    assert match_route("/demo").template == DEMO
    assert match_route("/demo/whatever").template == DEMO_FILES


def test_it_offers_the_pipelines_that_there_are() -> None:
    offered = re.findall(r'<option value="(\w+)"', (FOLDER / PAGE).read_text("utf-8"))
    pipelines = yaml.safe_load(PIPELINES_FILE.read_text("utf-8"))["pipelines"]

    assert set(offered) == {*pipelines, "spellcheck"}  # which is a step, and may be asked for


def test_the_client_is_that_of_the_document_and_typescript_finds_no_fault() -> None:
    """With what npm has locked; `make client` repairs what is stale."""
    script = install_packages()

    script.main(is_writing=False)


def test_a_client_that_is_stale_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = install_packages()
    for name in FILE_TYPES:
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "client.js").write_text("// by hand\n", "utf-8")
    monkeypatch.setattr(script, "PAGE", tmp_path)
    monkeypatch.setattr(script, "ROOT", Path("/"))

    with pytest.raises(script.ClientError, match=r"not what `make client` makes: .*/client\.js$"):
        script.main(is_writing=False)
