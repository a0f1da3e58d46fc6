"""Teams: parts of an account that services belong to, and that roles are given on."""

from dataclasses import dataclass

from control_service.domain.names import team_name


@dataclass(frozen=True, slots=True)
class Team:
    """One team of an account. Its id is never used again: `delete_us` is when only its tombstone was left."""

    account_id: str
    team_id: str
    display_name: str
    create_us: int
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """`accounts/{account}/teams/{team}`."""
        return team_name(self.account_id, self.team_id)

    @property
    def deleted(self) -> bool:
        """Whether only the team's tombstone is left."""
        return self.delete_us is not None
