"""The `api-gateway` command."""

from api_gateway_service.cli.main import main

__all__ = ["main"]
