"""The size of grants: large while pots are plentiful, shrinking as they run out."""

from typing import Final

GRANT_TOKENS_MIN: Final = 16
"""Minimum size of a grant that is not the last one."""
GRANT_TOKENS_MAX: Final = 1_024
"""Maximum size of a grant."""
SHARE: Final = 8
"""Divisor of what is free: a grant takes at most one part in so many."""


def output_target(
    output_tokens: int,
    free_tokens: int,
    max_output_tokens: int | None,
    *,
    ceiling_tokens: int,
    grant_max: int | None = None,
) -> int:
    """The ceiling to aim for, given what was generated and what is free of all payers together.

    Where much is free a grant goes to four times what was generated: half of that is past when it has doubled, so a
    request of length n needs log n renewals, also where every token is reported. Where it is not, a renewal still adds
    the least: only payers that have run dry make a grant final.
    `max_output_tokens` caps a hold; it is never the hold itself. `grant_max`: no grant is larger, but the least.
    """
    chunk = min(free_tokens // SHARE, max(GRANT_TOKENS_MAX, 3 * output_tokens))
    chunk = max(GRANT_TOKENS_MIN, chunk if grant_max is None else min(chunk, grant_max))
    target = output_tokens + chunk
    if ceiling_tokens and is_past_half(output_tokens, ceiling_tokens):
        target = max(target, ceiling_tokens + GRANT_TOKENS_MIN)
    if max_output_tokens is not None:
        target = min(target, max_output_tokens)
    return max(target, ceiling_tokens)


def is_past_half(output_tokens: int, ceiling_tokens: int) -> bool:
    """Whether a report asks, by what it says, for its grant to be renewed."""
    return 2 * output_tokens > ceiling_tokens
