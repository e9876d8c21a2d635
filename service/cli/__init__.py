"""The command line: one file per command, which `main` imports when it is called."""
