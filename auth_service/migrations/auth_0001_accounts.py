"""Accounts, sessions, signing keys, API keys, attempts, revocations and the record of sign-ins."""

from alembic import op

revision = "auth_0001"
down_revision = None
branch_labels = ("auth",)
depends_on = None

ACCOUNTS = (
    """
    CREATE TABLE auth.organizations (
        id         uuid        PRIMARY KEY,
        name       text        NOT NULL,
        kind       text        NOT NULL CHECK (kind IN ('personal', 'team', 'system')),
        tier       text        NOT NULL DEFAULT 'free',
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE UNIQUE INDEX organizations_one_system ON auth.organizations (kind) WHERE kind = 'system'",
    # A user made by command has neither address nor password: keys are the only way in.
    """
    CREATE TABLE auth.users (
        id               uuid        PRIMARY KEY,
        email            text,
        email_normalized text        CONSTRAINT users_email_key UNIQUE,
        username         text,
        full_name        text,
        password_hash    text,
        is_active        boolean     NOT NULL DEFAULT true,
        is_verified      boolean     NOT NULL DEFAULT false,
        version          bigint      NOT NULL DEFAULT 1,
        current_org_id   uuid        NOT NULL REFERENCES auth.organizations,
        created_at       timestamptz NOT NULL DEFAULT now(),
        updated_at       timestamptz NOT NULL DEFAULT now(),
        CHECK ((email IS NULL) = (email_normalized IS NULL))
    )
    """,
    "CREATE UNIQUE INDEX users_username_key ON auth.users (lower(username))",
    "CREATE INDEX users_current_org_id ON auth.users (current_org_id)",
    """
    CREATE TABLE auth.memberships (
        org_id     uuid        NOT NULL REFERENCES auth.organizations ON DELETE CASCADE,
        user_id    uuid        NOT NULL REFERENCES auth.users ON DELETE CASCADE,
        role       text        NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (org_id, user_id)
    )
    """,
    "CREATE INDEX memberships_user_id ON auth.memberships (user_id)",
)

CREDENTIALS = (
    # A session is a family of refresh tokens; `generation` is the newest one given out. The columns a refresh
    # changes are in no index, so that it stays a heap-only update.
    """
    CREATE TABLE auth.sessions (
        id              uuid        PRIMARY KEY,
        user_id         uuid        NOT NULL REFERENCES auth.users ON DELETE CASCADE,
        org_id          uuid        NOT NULL REFERENCES auth.organizations ON DELETE CASCADE,
        generation      bigint      NOT NULL DEFAULT 1,
        created_at      timestamptz NOT NULL,
        last_used_at    timestamptz NOT NULL,
        expires_at      timestamptz NOT NULL,
        idle_expires_at timestamptz NOT NULL,
        address         text        NOT NULL,
        agent           text        NOT NULL,
        revoked_at      timestamptz,
        reason          text
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX sessions_user_id ON auth.sessions (user_id)",
    "CREATE INDEX sessions_org_id ON auth.sessions (org_id)",
    "CREATE INDEX sessions_expires_at ON auth.sessions (expires_at)",
    """
    CREATE TABLE auth.signing_keys (
        kid               text        PRIMARY KEY,
        public_key        bytea       NOT NULL,
        encrypted_private bytea       NOT NULL,
        state             text        NOT NULL
                                      CHECK (state IN ('created', 'published', 'signing', 'retired', 'removed')),
        created_at        timestamptz NOT NULL DEFAULT now(),
        state_changed_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE UNIQUE INDEX signing_keys_one_signs ON auth.signing_keys (state) WHERE state = 'signing'",
    """
    CREATE TABLE auth.api_keys (
        id            uuid        PRIMARY KEY,
        org_id        uuid        NOT NULL REFERENCES auth.organizations ON DELETE CASCADE,
        user_id       uuid        REFERENCES auth.users ON DELETE CASCADE,
        name          text        NOT NULL,
        hash          bytea       NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
        pepper_id     text        NOT NULL,
        preview       text        NOT NULL,
        scopes        text[],
        created_at    timestamptz NOT NULL,
        expires_at    timestamptz,
        last_used_at  timestamptz,
        revoked_at    timestamptz,
        limit_count   integer     CHECK (limit_count > 0),
        limit_seconds integer     CHECK (limit_seconds > 0),
        CHECK ((limit_count IS NULL) = (limit_seconds IS NULL))
    )
    """,
    "CREATE INDEX api_keys_user_id ON auth.api_keys (user_id)",
    "CREATE INDEX api_keys_org_id ON auth.api_keys (org_id)",
)

DEFENCE = (
    # `key` is a keyed hash of who is tried and from where; `prior_until` is what a refund restores.
    """
    CREATE TABLE auth.attempts (
        key           bytea       PRIMARY KEY,
        failures      integer     NOT NULL,
        last_at       timestamptz NOT NULL,
        blocked_until timestamptz NOT NULL,
        prior_until   timestamptz NOT NULL
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE auth.revocations (
        seq        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind       text        NOT NULL CHECK (kind IN ('session', 'key', 'version', 'user')),
        subject    uuid        NOT NULL,
        before     bigint,
        expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK ((kind = 'version') = (before IS NOT NULL))
    )
    """,
)

EVENTS = (
    # No foreign key: a failed sign-in may be recorded while its account is being deleted.
    """
    CREATE TABLE auth.login_events (
        id      uuid        NOT NULL,
        at      timestamptz NOT NULL,
        user_id uuid,
        result  text        NOT NULL CHECK (result IN ('succeeded', 'failed')),
        address text        NOT NULL,
        agent   text        NOT NULL,
        PRIMARY KEY (at, id)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX login_events_user_id ON auth.login_events (user_id, at)",
    # Takes what no month's partition does, should nobody have made one in time.
    "CREATE TABLE auth.login_events_default PARTITION OF auth.login_events DEFAULT",
    # With its owner's rights, because the service itself may create and drop nothing.
    """
    CREATE FUNCTION auth.roll_login_events() RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        SET timezone = 'UTC'
        SET lock_timeout = '5s'
    AS $$
    DECLARE
        kept_since CONSTANT timestamptz := now() - interval '90 days';
        month      timestamptz := date_trunc('month', now());
        part       text;
    BEGIN
        FOR ahead IN 0..3 LOOP
            part := 'login_events_' || to_char(month, 'YYYY_MM');
            IF to_regclass('auth.' || part) IS NULL AND NOT EXISTS (
                SELECT FROM auth.login_events_default WHERE at >= month AND at < month + interval '1 month'
            ) THEN
                EXECUTE format(
                    'CREATE TABLE auth.%I PARTITION OF auth.login_events FOR VALUES FROM (%L) TO (%L)',
                    part, month, month + interval '1 month'
                );
            END IF;
            month := month + interval '1 month';
        END LOOP;

        FOR part IN
            SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = 'auth.login_events'::regclass AND relname ~ '^login_events_[0-9]{4}_[0-9]{2}$'
        LOOP
            IF to_date(right(part, 7), 'YYYY_MM') + interval '1 month' <= kept_since THEN
                EXECUTE format('DROP TABLE auth.%I', part);
            END IF;
        END LOOP;

        DELETE FROM auth.login_events WHERE at < kept_since;
    END
    $$
    """,
    "SELECT auth.roll_login_events()",
)

TABLES = (
    "login_events",
    "revocations",
    "attempts",
    "api_keys",
    "signing_keys",
    "sessions",
    "memberships",
    "users",
    "organizations",
)


def upgrade() -> None:
    for statement in (*ACCOUNTS, *CREDENTIALS, *DEFENCE, *EVENTS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION auth.roll_login_events()")
    for table in TABLES:
        op.execute(f"DROP TABLE auth.{table}")
