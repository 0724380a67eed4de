"""Hold the typed client to the gateway's OpenAPI document, and the page at /demo to the client.

`schema.d.ts` is made from the document, and the page's `client.js` and `live.js` from the
TypeScript beside it, with the versions that `package-lock.json` names. All of it, and the page's
own scripts with it, is checked by TypeScript. `--write` puts what was made in its place; without
it, what stands there must be the same.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "examples" / "react-client"
PAGE = ROOT / "src" / "api_gateway_service" / "demo"
COMPILED = ("client.js", "live.js")
OWN_SCRIPTS = ("app.js", "view.js", "words.js")
LOCKED = "node_modules/.package-lock.json"  # npm writes it when it has installed


class ClientError(Exception):
    """Something is not as it should be."""


def install() -> None:
    """Install the locked packages, unless that was done since the lock changed.

    One at a time: npm begins by deleting what there is.
    """
    lock, done = CLIENT / "package-lock.json", CLIENT / LOCKED
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=CLIENT)


def make(directory: Path) -> Mapping[Path, Path]:
    """Make all of it in the directory; return what was made, by where it belongs."""
    for path in (*CLIENT.glob("*.ts*"), CLIENT / "tsconfig.json"):
        shutil.copy(path, directory)
    for name in OWN_SCRIPTS:
        shutil.copy(PAGE / name, directory)
    (directory / "node_modules").symlink_to(CLIENT / "node_modules")
    gateway = Path(sys.executable).with_name("api-gateway")
    (directory / "openapi.json").write_text(run(gateway, "openapi", cwd=directory), "utf-8")
    tools = CLIENT / "node_modules" / ".bin"
    run(
        tools / "openapi-typescript",
        "openapi.json",
        "--default-non-nullable=false",  # what has a default may be left out of a request
        "--output=schema.d.ts",
        cwd=directory,
    )
    run(tools / "tsc", cwd=directory)
    made = {PAGE / name: directory / "compiled" / name for name in COMPILED}
    return made | {CLIENT / "schema.d.ts": directory / "schema.d.ts"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run it; return what it printed.

    Raises:
        ClientError: it failed.
    """
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ClientError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(*, is_writing: bool) -> None:
    """Check it, or write it.

    Raises:
        ClientError: something that stands there is not what would be made.
    """
    install()
    with tempfile.TemporaryDirectory(prefix="gateway-client-") as name:
        made = make(Path(name))
        if is_writing:
            for place, new in made.items():
                shutil.copyfile(new, place)
        stale = [place for place, new in made.items() if place.read_bytes() != new.read_bytes()]
    if stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        raise ClientError(f"not what `make client` makes: {names}")


if __name__ == "__main__":
    try:
        main(is_writing="--write" in sys.argv)
    except ClientError as error:
        sys.exit(str(error))
