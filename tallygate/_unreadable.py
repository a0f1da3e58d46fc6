"""Why a file cannot be read, for a sentence that names the file itself."""


def why_unreadable(error: Exception) -> str:
    """What the system says, without its number and the path once more; of other errors their own words."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
