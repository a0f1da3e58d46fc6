"""The model of each service that there are records of."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
oldest_program = "0016"

DEFAULT = "/services/default-"


def upgrade() -> None:
    """Add it; default services have it in their names, and nodes tell that of the others."""
    op.add_column("services", sa.Column("model", sa.Text(), nullable=False, server_default=""))
    place = "instr" if op.get_bind().dialect.name == "sqlite" else "strpos"
    models = sa.text(
        f"UPDATE services SET model = 'models/' || substr(service, {place}(service, :part) + {len(DEFAULT)}) "  # noqa: S608
        f"WHERE {place}(service, :part) > 0"
    )
    op.get_bind().execute(models, {"part": DEFAULT})
