"""How large things may be, so that no sum of them leaves 64 bits, and no text fills the database."""

from typing import Final

AMOUNT_NANOS_MAX: Final = 10**18
"""Of one payment, limit or floor: a thousand million of a currency."""

FUNDS_NANOS_MAX: Final = 4 * 10**18
"""Of all that was paid in less what was taken away, in either direction."""

PRICE_NANOS_MAX: Final = 10**15
"""Of one price: a million of a currency, for a million tokens or for 1,000 tokens per minute and day."""

TOKENS_MAX: Final = 10**15
"""Of one quota of tokens."""

ANSWER_TOKENS_MAX: Final = 10**8
"""Of the output of one answer: nodes take no greater count."""

RATE_TOKENS_MAX: Final = 10**9
"""Per minute, of one reservation."""

RESERVED_TOKENS_MAX: Final = 10**11
"""Per minute, of all active reservations of one service: a bucket counts sixty-millionths of a token."""

OUTAGE_TOKENS_MAX: Final = 10**9
"""That a node may go on with while it is cut off, of one service."""

TERM_DAYS_MAX: Final = 3_660
"""Of a reservation."""

TRIAL_VALID_US_MAX: Final = 36_600 * 86_400 * 10**6
"""A hundred years."""

TEXT_MAX: Final = 256
"""Characters of a name for people, a team, an alias, a label's value, an idempotency key, an actor."""

REASON_MAX: Final = 1_024
"""Characters of a reason in the ledger."""

LABEL_COUNT_MAX: Final = 16
LABEL_KEY_MAX: Final = 63
ALIAS_COUNT_MAX: Final = 100
