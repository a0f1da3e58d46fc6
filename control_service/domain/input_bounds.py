"""Bounds of what requests may contain, so that no sum of amounts leaves 64 bits and no text fills the database."""

from typing import Final

AMOUNT_NANOS_MAX: Final = 10**18
"""Maximum of one payment, limit or floor: a thousand million of a currency."""

FUNDS_NANOS_MAX: Final = 4 * 10**18
"""Maximum of an account's funds, paid in less taken away, in either direction."""

PRICE_NANOS_MAX: Final = 10**15
"""Maximum of one price: a million of a currency, for a million tokens or for 1,000 tokens per minute and day."""

TOKENS_MAX: Final = 10**15
"""Maximum of one quota of tokens."""

ANSWER_TOKENS_MAX: Final = 10**8
"""Maximum number of output tokens of one answer: nodes take no greater count."""

RATE_TOKENS_MAX: Final = 10**9
"""Maximum rate of one reservation, in tokens per minute."""

RESERVED_TOKENS_MAX: Final = 10**11
"""Maximum rate of one service's active reservations, in tokens per minute: a bucket counts sixty-millionths of one."""

OUTAGE_TOKENS_MAX: Final = 10**9
"""Maximum number of tokens that one service may use on a node that is cut off."""

TERM_DAYS_MAX: Final = 3_660
"""Maximum term of a reservation."""

TRIAL_VALID_US_MAX: Final = 36_600 * 86_400 * 10**6
"""Maximum validity of a trial: a hundred years."""

TEXT_MAX: Final = 256
"""Maximum characters of a name for people, an alias, a label's value, an idempotency key, an actor."""

REASON_MAX: Final = 1_024
"""Maximum characters of a reason in the ledger."""

LABEL_COUNT_MAX: Final = 16
"""Maximum number of labels of a service."""

LABEL_KEY_MAX: Final = 63
"""Maximum characters of a label's key."""

ALIAS_COUNT_MAX: Final = 100
"""Maximum number of aliases of a model."""
