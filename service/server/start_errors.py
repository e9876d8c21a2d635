"""Why a server can't start: what the command line tells in a line, ending with exit code 1."""


class StartError(Exception):
    """The message is a full sentence for the operator and holds no secret."""


class AddressInUse(StartError):
    """The server can't listen where it was told to."""


class UnusableFile(StartError):
    """A file of certificates, keys or tokens can't be read, or isn't what it should be."""
