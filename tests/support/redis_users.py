"""A user of Redis with the rights that the README lists, and no other."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from redis.asyncio import Redis

from service_libs.redis.connections import execute

README = Path(__file__).parents[2] / "README.md"
PASSWORD = "pass-word"


def documented_rights() -> list[str]:
    """Return the rights of the README's ACL SETUSER."""
    [line] = re.findall(r"^ACL SETUSER bcs (.*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    rights: list[str] = line.replace("PASSWORD", PASSWORD).split()
    return rights


async def make_user(server_url: str, *changes: str, name: str = "bcs") -> str:
    """Give the user the documented rights, then the changes; return the server's URL for it."""
    await change_rights(server_url, "reset", *documented_rights(), *changes, name=name)
    url = urlsplit(server_url)
    return url._replace(netloc=f"{name}:{PASSWORD}@{url.hostname}:{url.port}").geturl()


async def change_rights(server_url: str, *changes: str, name: str = "bcs") -> None:
    """Change the rights of the user."""
    await run_command(server_url, "ACL", "SETUSER", name, *changes)


async def run_command(server_url: str, *command: str) -> None:
    """Run one command as the server's administrator."""
    async with Redis.from_url(server_url) as admin, admin.pipeline(transaction=False) as pipe:
        await execute(pipe, [command])
