"""The `bos` commands, as an operator runs them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """What a command gave."""

    code: int
    output: str
    errors: str


async def bos(url: str, *arguments: str, **settings: str) -> Ended:
    """Run the command against the database, with these settings beside it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batch_orchestrator_service.cli",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"BOS_DATABASE_URL": url} | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return Ended(process.returncode or 0, output.decode(), errors.decode())
