"""Teams, which services named by any text until now: one for each text that an account's services have."""

import re
import time
from collections import defaultdict
from itertools import count

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID_MAX = 63
ID = re.compile(f"[a-z0-9][a-z0-9-]{{0,{ID_MAX - 1}}}")


def upgrade() -> None:
    """Make the table and its teams. Default services, which belong to no team, lose theirs."""
    teams = op.create_table(
        "teams",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("team_id", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("delete_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "team_id", name=op.f("pk_teams")),
    )
    op.create_index("ix_services_account_id_team_service_id", "services", ["account_id", "team", "service_id"])
    services = sa.table("services", sa.column("account_id"), sa.column("team"), sa.column("kind"))
    connection = op.get_bind()
    texts: dict[str, list[str]] = defaultdict(list)
    query = sa.select(services.c.account_id, services.c.team).distinct().where(services.c.team != "")
    for account_id, text in connection.execute(query.order_by(services.c.account_id, services.c.team)):
        texts[account_id].append(text)
    now_us = time.time_ns() // 1_000
    for account_id, of_account in texts.items():
        for text, team_id in ids_of(of_account).items():
            row = {"account_id": account_id, "team_id": team_id, "display_name": text, "create_us": now_us}
            connection.execute(sa.insert(teams).values(row))
            if team_id != text:
                named = (services.c.account_id == account_id) & (services.c.team == text)
                connection.execute(sa.update(services).where(named).values(team=team_id))
    connection.execute(sa.update(services).where(services.c.kind == "DEFAULT", services.c.team != "").values(team=""))


def ids_of(texts: list[str]) -> dict[str, str]:
    """An id for each of these texts. One that is an id already keeps it, so that no other text gets it."""
    ids = {text: text for text in texts if ID.fullmatch(text)}
    taken = set(ids)
    for text in texts:
        if text not in ids:
            ids[text] = free_id(text, taken)
            taken.add(ids[text])
    return ids


def free_id(text: str, taken: set[str]) -> str:
    """The id that is most like a text and not taken: `Ads & Search` is `ads-search`, another one `ads-search-2`."""
    stem = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:ID_MAX].rstrip("-") or "team"
    if stem not in taken:
        return stem
    suffixed = (stem[: ID_MAX - len(suffix)] + suffix for number in count(2) if (suffix := f"-{number}"))
    return next(team_id for team_id in suffixed if team_id not in taken)
