"""Free trials: a quota of tokens with the terms of the day of the claim."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """A free trial with its terms as of the claim; `expire_us` is None for one without end.

    `held_tokens` are those of the leased tokens that open requests hold, by the nodes' last statements.
    `told_percent` is the threshold that it stands at, see threshold.py; 0 is none.
    """

    quota_tokens: int
    smallest_tokens: int
    claim_us: int
    expire_us: int | None = None
    spent_tokens: int = 0
    leased_tokens: int = 0
    held_tokens: int = 0
    told_percent: int = 0

    @property
    def remaining_tokens(self) -> int:
        """Quota less spent; some of it may be on lease."""
        return self.quota_tokens - self.spent_tokens

    @property
    def exhausted(self) -> bool:
        """Whether less is left than the smallest request needs, and no request holds any of it."""
        return self.remaining_tokens < self.smallest_tokens and self.held_tokens == 0

    def expired(self, now_us: int) -> bool:
        """Whether the trial's time ran out."""
        return self.expire_us is not None and now_us >= self.expire_us
