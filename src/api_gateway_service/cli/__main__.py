"""`python -m api_gateway_service.cli`, where the script `api-gateway` is not on the path."""

from api_gateway_service.cli import main

main(prog_name="api-gateway")
