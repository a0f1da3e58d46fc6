"""The accounts of which this node follows something, and those of which it follows nothing any more."""

from collections import Counter
from collections.abc import Iterator


class FollowedAccounts:
    """Counts services and API keys by account, `accounts/{account}`.

    Control tells an account's limits before its first service or key, and once more where all of these were unfollowed
    in between. It may have a key on its way that counts there already: so an account is left only some time after
    nothing of it was followed, and nothing was told.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._since_ns: dict[str, int] = {}
        """Since when nothing of an account is followed, and nothing was told of it."""

    def follow(self, account: str) -> None:
        """One more service or key of it is followed."""
        self._counts[account] += 1
        self._since_ns.pop(account, None)

    def unfollow(self, account: str, now_ns: int) -> None:
        """One of them is followed no longer."""
        self._counts[account] -= 1
        if not self._counts[account]:
            del self._counts[account]
            self._since_ns[account] = now_ns

    def told(self, account: str, now_ns: int) -> None:
        """Control has told the account's limits."""
        if account not in self._counts:
            self._since_ns[account] = now_ns

    def left(self, since_ns: int) -> Iterator[str]:
        """The accounts of which nothing was followed, nor told, since then."""
        return (account for account, left_ns in list(self._since_ns.items()) if left_ns <= since_ns)

    def forget(self, account: str) -> None:
        """Nothing is known of it any more."""
        self._since_ns.pop(account, None)
