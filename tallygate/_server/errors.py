"""Errors that end a program, mostly before it serves. Their text is one plain sentence for whoever started it."""


class StartupError(Exception):
    """The program cannot start; the message says what is wrong, where, and what to do."""


class ConfigurationError(StartupError):
    """An option or environment variable has a value that cannot work."""


class SupersededError(StartupError):
    """Another process has this one's place: started again, it would take it back, and so on for ever."""


class DatabaseError(StartupError):
    """The database cannot be reached, read or brought to this program's revision."""
