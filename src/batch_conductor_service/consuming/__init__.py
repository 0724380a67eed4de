"""What the consumer's loop is made of: bookkeeping without I/O, and the connection to Kafka."""
