"""What the consumer's loop is made of: what becomes of a poll, how far to commit, how fresh."""
