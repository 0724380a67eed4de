"""What npm makes of `examples/react-client`, where the machine has npm."""

import importlib.util
import os
import shutil
from types import ModuleType

import pytest

from tests.support.processes import ROOT

SCRIPT = ROOT / ".ci" / "client.py"


def load_client_script() -> ModuleType:
    """Return the script, which is part of no package."""
    spec = importlib.util.spec_from_file_location("client", SCRIPT)
    if spec is None or spec.loader is None:
        raise ImportError(SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install_packages() -> ModuleType:
    """Install the locked packages; return the script.

    Without npm the test is skipped; where its registry is not reached, too, but not in CI.
    """
    if shutil.which("npm") is None:
        pytest.skip("no npm: the client is checked where there is one")
    script = load_client_script()
    try:
        script.install()
    except script.ClientError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"npm installs nothing here: {error}")
    return script


def bundle_example() -> bytes:
    """Return the React example with all that it needs, as one script."""
    script = install_packages()
    esbuild = script.CLIENT / "node_modules" / ".bin" / "esbuild"
    command = (esbuild, "example.tsx", "--bundle", "--jsx=automatic", "--format=esm")
    development = "--define:process.env.NODE_ENV='development'"
    text: str = script.run(*command, development, cwd=script.CLIENT)
    return text.encode()
