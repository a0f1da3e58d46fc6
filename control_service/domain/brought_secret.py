"""Secrets that tenants bring along: which are suitable.

What a tenant brings has to be as hard to guess as a secret that is made here, as far as its looks tell. One sentence
answers whatever is wrong with it, and also where the secret is in use: nobody learns by trying what others have.
"""

import re
from itertools import pairwise
from typing import Final

from tallygate._access import token_text

LENGTH_MIN: Final = 32
"""Minimum length of a secret that is brought along."""
LENGTH_MAX: Final = 256
"""Maximum length of a secret that is brought along: that of a key which clients and nodes take."""
BODY_MIN: Final = 20
"""Minimum length of what follows prefixes such as `sk-`."""
DISTINCT_MIN: Final = 10
"""Minimum number of different characters in that."""

UNSUITABLE: Final = (
    f"cannot be used: bring a secret of {LENGTH_MIN} to {LENGTH_MAX:,} letters, digits and signs that nobody can guess "
    "and nobody else uses, or leave it out for a new one"
)
"""The answer for every unsuitable secret, and for one that is taken."""

_PLAIN: Final = re.compile(r"[!-~]+")
_PREFIXES: Final = re.compile(r"(?:[A-Za-z]{1,10}[-_])*")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]")
_PLACEHOLDERS: Final = (
    "yourkey",
    "yourapikey",
    "youropenai",
    "yoursecret",
    "yourtoken",
    "apikeyhere",
    "keygoeshere",
    "tokenhere",
    "secrethere",
    "changeme",
    "replaceme",
    "replacewith",
    "placeholder",
    "examplekey",
    "dummykey",
    "fakekey",
    "notarealkey",
    "nokeyrequired",
    "supersecret",
    "xxxxxx",
)
"""Words of secrets that stand in examples and settings until somebody puts a real one there."""


def is_suitable(secret: str) -> bool:
    """Whether a secret looks as if nobody could guess it."""
    if not LENGTH_MIN <= len(secret) <= LENGTH_MAX or _PLAIN.fullmatch(secret) is None:
        return False
    body = _PREFIXES.sub("", secret)
    if secret.startswith(token_text.PREFIX) or len(body) < BODY_MIN or len(set(body)) < DISTINCT_MIN:
        return False
    return not (_is_placeholder(secret) or _repeats(body) or _counts(body))


def _is_placeholder(secret: str) -> bool:
    bare = _SEPARATORS.sub("", secret.lower())
    return any(word in bare for word in _PLACEHOLDERS)


def _repeats(text: str) -> bool:
    """Whether the text is a shorter one written again and again."""
    return any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))


def _counts(text: str) -> bool:
    """Whether most characters follow the one before, as in `0123456789abcdef`, or are the same."""
    steps = [ord(after) - ord(before) for before, after in pairwise(text)]
    return sum(abs(step) <= 1 for step in steps) * 2 > len(steps)
