"""How fast the services are, each figure beside its limit, measured in the same run."""
