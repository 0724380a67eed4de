"""The `bcs` command."""

from batch_conductor_service.cli.main import main

__all__ = ["main"]
