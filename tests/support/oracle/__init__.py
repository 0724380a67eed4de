"""A second judge of what may be skipped. See `judge`."""
