"""One file per contender: how it is started, and how it is asked."""
