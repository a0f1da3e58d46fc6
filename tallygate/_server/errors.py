"""Errors that end a program before it serves. Their text is one plain sentence for the person who started it."""


class StartupError(Exception):
    """The program cannot start; the message says what is wrong, where, and what to do."""


class ConfigurationError(StartupError):
    """An option or environment variable has a value that cannot work."""


class DatabaseError(StartupError):
    """The database cannot be reached, read or brought to this program's revision."""
