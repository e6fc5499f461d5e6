"""Brings a database to the newest schema: Alembic with plain SQL, one branch per module.

Each branch is a folder of files such as

    revision = "auth_0001"
    down_revision = None
    branch_labels = ("auth",)

    def upgrade() -> None:
        op.execute(SQL)

The owner of the database runs this (`MIGRATE_DATABASE_URL`, else `DATABASE_URL`), directly and not through a pooler:
the lock that keeps two starters apart belongs to the session. psycopg and Alembic are imported here and nowhere else,
so import this package only where migrations run.
"""

from ops.migrate.database import MigrationFailed
from ops.migrate.locations import shipped_locations
from ops.migrate.roles import create_roles
from ops.migrate.runner import downgrade, migrate

__all__ = ["MigrationFailed", "create_roles", "downgrade", "migrate", "shipped_locations"]
