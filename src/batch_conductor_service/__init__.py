"""The Batch Conductor Service: which phases of a batch are still to run, and in which order."""
