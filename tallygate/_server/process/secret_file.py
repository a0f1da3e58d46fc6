"""Files that hold a secret, which are read once at the start, and only where nobody else can read them."""

import os
import stat
from typing import Final

from tallygate._server.errors import ConfigurationError

SECRET_BYTES_MAX: Final = 65_536
"""Maximum size of such a file: a longer one is a mistake."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_secret_file(path: str) -> bytes:
    """All that is in the file.

    Raises:
        ConfigurationError: it cannot be read, is too long, or others than its owner can read it. The message says
            nothing of what is in it.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # its mode is asked of what was opened
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error.strerror}.") from error
    if mode & _OTHERS:
        raise ConfigurationError(f"The file {path} is open to others (mode {mode:04o}); run chmod 600 {path}.")
    if len(content) > SECRET_BYTES_MAX:
        raise ConfigurationError(f"The file {path} has more than {SECRET_BYTES_MAX} bytes, which no secret has.")
    return content
