"""`python -m batch_conductor_service.cli`, where the script `bcs` is not on the path."""

from batch_conductor_service.cli import main

main(prog_name="bcs")
