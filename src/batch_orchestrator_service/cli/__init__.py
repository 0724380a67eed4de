"""The `bos` command."""

from batch_orchestrator_service.cli.main import main

__all__ = ["main"]
