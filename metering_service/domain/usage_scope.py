"""Whose usage an answer has: of the teams that were asked for, and of those that the caller sees."""

from dataclasses import dataclass
from typing import Final

from tallygate._access.rights import SEES_ALL, Sight


@dataclass(frozen=True, slots=True)
class UsageScope:
    """What narrows every figure of an answer to a question about usage.

    `sight`: where the caller may read usage. `team_ids`: the teams that were asked for, empty text for what no team
    used; None: any.
    """

    sight: Sight = SEES_ALL
    team_ids: frozenset[str] | None = None

    def teams_of(self, name: str) -> frozenset[str] | None:
        """Ids of the teams whose usage of a service, or of an account's services, is in the answer; None: anybody's.

        `name`: `accounts/{account}`, or the name of a service in it.
        """
        seen = self.sight.teams_of(account_id_of(name))
        if seen is None or self.team_ids is None:
            return self.team_ids if seen is None else seen
        return seen & self.team_ids


def account_id_of(name: str) -> str:
    """The account's id in `accounts/{account}`, or in the name of a service in it."""
    return name.split("/", 2)[1]


WHOLE_SCOPE: Final = UsageScope()
"""Scope of an answer that nothing narrows."""
