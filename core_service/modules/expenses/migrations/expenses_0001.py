"""Categories and expenses, each private to its user within the organization."""

from alembic import op

revision = "expenses_0001"
down_revision = None
branch_labels = ("expenses",)
depends_on = None


def upgrade() -> None:
    # name_key is the name folded by the service: what lower() does depends on the database's locale.
    op.execute(
        """
        CREATE TABLE core.categories (
            id          uuid         PRIMARY KEY,
            org_id      uuid         NOT NULL,
            user_id     uuid         NOT NULL,
            name        varchar(100) NOT NULL,
            name_key    text         NOT NULL,
            description varchar(500),
            color       char(7)      NOT NULL,
            icon        varchar(50),
            is_default  boolean      NOT NULL DEFAULT false,
            created_at  timestamptz  NOT NULL DEFAULT now(),
            updated_at  timestamptz  NOT NULL DEFAULT now(),
            CONSTRAINT categories_name_unique UNIQUE (user_id, org_id, name_key),
            CONSTRAINT categories_owner_unique UNIQUE (user_id, org_id, id)
        )
        """
    )
    # The foreign key holds the owner too, so that an expense can only name a category of the same person.
    op.execute(
        """
        CREATE TABLE core.expenses (
            id             uuid          PRIMARY KEY,
            org_id         uuid          NOT NULL,
            user_id        uuid          NOT NULL,
            category_id    uuid          NOT NULL,
            amount         numeric(12,2) NOT NULL CONSTRAINT expenses_amount_positive CHECK (amount > 0),
            currency       char(3)       NOT NULL DEFAULT 'USD',
            date           date          NOT NULL,
            description    varchar(255),
            payment_method varchar(20) CONSTRAINT expenses_payment_method_known CHECK (
                payment_method IN ('cash', 'card', 'transfer', 'digital_wallet', 'other')
            ),
            tags           text[]        NOT NULL DEFAULT '{}',
            notes          varchar(2000),
            created_at     timestamptz   NOT NULL DEFAULT now(),
            updated_at     timestamptz   NOT NULL DEFAULT now(),
            CONSTRAINT expenses_category_owned FOREIGN KEY (user_id, org_id, category_id)
                REFERENCES core.categories (user_id, org_id, id)
        )
        """
    )
    # The user comes first in both: a purge looks for the user alone. The first serves the list and its date range,
    # the second the filter by category and the question whether a category is in use. The other filters (amount,
    # payment method, tags) look through one person's rows.
    op.execute("CREATE INDEX expenses_by_date ON core.expenses (user_id, org_id, date DESC, created_at DESC, id DESC)")
    op.execute(
        "CREATE INDEX expenses_by_category ON core.expenses"
        " (user_id, org_id, category_id, date DESC, created_at DESC, id DESC)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE core.expenses")
    op.execute("DROP TABLE core.categories")
