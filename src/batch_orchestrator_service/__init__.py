"""BOS's side: from a command to the last phase of a run, and never two truths."""
