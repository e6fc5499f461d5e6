"""How far core has read auth's revocation feed, and whose rows it deletes a second time."""

from alembic import op

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE core.feed_positions (
            feed       text        PRIMARY KEY,
            seq        bigint      NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE core.recent_purges (
            user_id   uuid        PRIMARY KEY,
            purged_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE core.recent_purges")
    op.execute("DROP TABLE core.feed_positions")
