"""Real servers from wheels, for `bcs local` and for tests; the service never imports them."""
