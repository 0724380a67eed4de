"""`python -m batch_orchestrator_service.cli`, where the script `bos` is not on the path."""

from batch_orchestrator_service.cli import main

main(prog_name="bos")
