"""The fingerprint of the pepper, by which a server notices that it has another one."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; the first server that has a pepper enters it."""
    op.add_column("meta", sa.Column("pepper_fingerprint", sa.LargeBinary(), nullable=True))
