

CREATE SCHEMA auth;

CREATE SCHEMA core;

CREATE SCHEMA gatehouse;

CREATE FUNCTION auth.roll_login_events() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '5s'
    AS $_$
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
    $_$;

CREATE TABLE auth.api_keys (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid,
    name text NOT NULL,
    hash bytea NOT NULL,
    pepper_id text NOT NULL,
    preview text NOT NULL,
    scopes text[],
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    limit_count integer,
    limit_seconds integer,
    CONSTRAINT api_keys_check CHECK (((limit_count IS NULL) = (limit_seconds IS NULL))),
    CONSTRAINT api_keys_limit_count_check CHECK ((limit_count > 0)),
    CONSTRAINT api_keys_limit_seconds_check CHECK ((limit_seconds > 0))
);

CREATE TABLE auth.attempts (
    key bytea NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL,
    blocked_until timestamp with time zone NOT NULL,
    prior_until timestamp with time zone NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE auth.login_events (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    user_id uuid,
    result text NOT NULL,
    address text NOT NULL,
    agent text NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
)
PARTITION BY RANGE (at);

CREATE TABLE auth.login_events_2026_11 (
    id uuid CONSTRAINT login_events_id_not_null NOT NULL,
    at timestamp with time zone CONSTRAINT login_events_at_not_null NOT NULL,
    user_id uuid,
    result text CONSTRAINT login_events_result_not_null NOT NULL,
    address text CONSTRAINT login_events_address_not_null NOT NULL,
    agent text CONSTRAINT login_events_agent_not_null NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
);

CREATE TABLE auth.login_events_2026_12 (
    id uuid CONSTRAINT login_events_id_not_null NOT NULL,
    at timestamp with time zone CONSTRAINT login_events_at_not_null NOT NULL,
    user_id uuid,
    result text CONSTRAINT login_events_result_not_null NOT NULL,
    address text CONSTRAINT login_events_address_not_null NOT NULL,
    agent text CONSTRAINT login_events_agent_not_null NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
);

CREATE TABLE auth.login_events_2027_01 (
    id uuid CONSTRAINT login_events_id_not_null NOT NULL,
    at timestamp with time zone CONSTRAINT login_events_at_not_null NOT NULL,
    user_id uuid,
    result text CONSTRAINT login_events_result_not_null NOT NULL,
    address text CONSTRAINT login_events_address_not_null NOT NULL,
    agent text CONSTRAINT login_events_agent_not_null NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
);

CREATE TABLE auth.login_events_2027_02 (
    id uuid CONSTRAINT login_events_id_not_null NOT NULL,
    at timestamp with time zone CONSTRAINT login_events_at_not_null NOT NULL,
    user_id uuid,
    result text CONSTRAINT login_events_result_not_null NOT NULL,
    address text CONSTRAINT login_events_address_not_null NOT NULL,
    agent text CONSTRAINT login_events_agent_not_null NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
);

CREATE TABLE auth.login_events_default (
    id uuid CONSTRAINT login_events_id_not_null NOT NULL,
    at timestamp with time zone CONSTRAINT login_events_at_not_null NOT NULL,
    user_id uuid,
    result text CONSTRAINT login_events_result_not_null NOT NULL,
    address text CONSTRAINT login_events_address_not_null NOT NULL,
    agent text CONSTRAINT login_events_agent_not_null NOT NULL,
    CONSTRAINT login_events_result_check CHECK ((result = ANY (ARRAY['succeeded'::text, 'failed'::text])))
);

CREATE TABLE auth.memberships (
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE auth.organizations (
    id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    tier text DEFAULT 'free'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT organizations_kind_check CHECK ((kind = ANY (ARRAY['personal'::text, 'team'::text, 'system'::text])))
);

CREATE TABLE auth.revocations (
    seq bigint NOT NULL,
    kind text NOT NULL,
    subject uuid NOT NULL,
    before bigint,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT revocations_check CHECK (((kind = 'version'::text) = (before IS NOT NULL))),
    CONSTRAINT revocations_kind_check CHECK ((kind = ANY (ARRAY['session'::text, 'key'::text, 'version'::text, 'user'::text])))
);

ALTER TABLE auth.revocations ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME auth.revocations_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE auth.sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    org_id uuid NOT NULL,
    generation bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    idle_expires_at timestamp with time zone NOT NULL,
    address text NOT NULL,
    agent text NOT NULL,
    revoked_at timestamp with time zone,
    reason text
)
WITH (fillfactor='80');

CREATE TABLE auth.signing_keys (
    kid text NOT NULL,
    public_key bytea NOT NULL,
    encrypted_private bytea NOT NULL,
    state text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    state_changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT signing_keys_state_check CHECK ((state = ANY (ARRAY['created'::text, 'published'::text, 'signing'::text, 'retired'::text, 'removed'::text])))
);

CREATE TABLE auth.users (
    id uuid NOT NULL,
    email text,
    email_normalized text,
    username text,
    full_name text,
    password_hash text,
    is_active boolean DEFAULT true NOT NULL,
    is_verified boolean DEFAULT false NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    current_org_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_check CHECK (((email IS NULL) = (email_normalized IS NULL)))
);

CREATE TABLE core.categories (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    name character varying(100) NOT NULL,
    name_key text NOT NULL,
    description character varying(500),
    color character(7) NOT NULL,
    icon character varying(50),
    is_default boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE core.expenses (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    category_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    currency character(3) DEFAULT 'USD'::bpchar NOT NULL,
    date date NOT NULL,
    description character varying(255),
    payment_method character varying(20),
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    notes character varying(2000),
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT expenses_amount_positive CHECK ((amount > (0)::numeric)),
    CONSTRAINT expenses_payment_method_known CHECK (((payment_method)::text = ANY ((ARRAY['cash'::character varying, 'card'::character varying, 'transfer'::character varying, 'digital_wallet'::character varying, 'other'::character varying])::text[])))
);

CREATE TABLE core.feed_positions (
    feed text NOT NULL,
    seq bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE core.recent_purges (
    user_id uuid NOT NULL,
    purged_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE gatehouse.alembic_version (
    version_num character varying(32) NOT NULL
);

ALTER TABLE ONLY auth.login_events ATTACH PARTITION auth.login_events_2026_11 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');

ALTER TABLE ONLY auth.login_events ATTACH PARTITION auth.login_events_2026_12 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');

ALTER TABLE ONLY auth.login_events ATTACH PARTITION auth.login_events_2027_01 FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00');

ALTER TABLE ONLY auth.login_events ATTACH PARTITION auth.login_events_2027_02 FOR VALUES FROM ('2027-02-01 00:00:00+00') TO ('2027-03-01 00:00:00+00');

ALTER TABLE ONLY auth.login_events ATTACH PARTITION auth.login_events_default DEFAULT;

INSERT INTO auth.api_keys VALUES ('01a20678-67a6-701b-ad61-d690c5f2a8b2', '00000000-0000-7000-8000-000000000001', '01a20678-677f-7938-9c19-aca9884f4296', 'first key', '\xf57e357744603d2a6c33815e74579240d397607964a3a4dba28a4904620b6018', 'a3c648d2', '…ZmKAE', NULL, '2026-11-23 03:34:43.877994+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO auth.api_keys VALUES ('01a20678-70d8-7b09-acb1-5939fa071da2', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'from 0.1.0', '\xdca2dc48d8c6d68215db61c6ca160cd85456213cad7bf7001137ed923376b45b', 'a3c648d2', '…tLhxo', NULL, '2026-11-23 03:34:46.232097+00', NULL, NULL, NULL, NULL, NULL);

INSERT INTO auth.attempts VALUES ('\x61c7c4e06c68ed0a7758982f4e5c94dc6e', 0, '2026-11-23 03:34:46.189622+00', '-infinity', '-infinity');

INSERT INTO auth.login_events_2026_11 VALUES ('01a20678-70d1-7f07-9bd6-caa6143ff95a', '2026-11-23 03:34:46.225471+00', '01a20678-7099-7b82-820f-b5de815469aa', 'succeeded', '127.0.0.1', 'Python-urllib/3.11');

INSERT INTO auth.memberships VALUES ('00000000-0000-7000-8000-000000000001', '01a20678-677f-7938-9c19-aca9884f4296', 'admin', '2026-11-23 03:34:43.837413+00');
INSERT INTO auth.memberships VALUES ('01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'admin', '2026-11-23 03:34:46.169863+00');

INSERT INTO auth.organizations VALUES ('00000000-0000-7000-8000-000000000001', 'Gatehouse', 'system', 'free', '2026-11-23 03:34:43.837413+00');
INSERT INTO auth.organizations VALUES ('01a20678-7099-7c6d-9aac-a3785384642e', 'A Person', 'personal', 'free', '2026-11-23 03:34:46.169863+00');

INSERT INTO auth.sessions VALUES ('01a20678-70d1-7b7e-9914-0b1633f26451', '01a20678-7099-7b82-820f-b5de815469aa', '01a20678-7099-7c6d-9aac-a3785384642e', 1, '2026-11-23 03:34:46.225471+00', '2026-11-23 03:34:46.225471+00', '2026-12-23 03:34:46.225471+00', '2026-11-30 03:34:46.225471+00', '127.0.0.1', 'Python-urllib/3.11', NULL, NULL);

INSERT INTO auth.signing_keys VALUES ('g0L9W-tbv0jnYaqt-YFXdq16EP7J-vU5PAALGSOPIEU', '\xaf0d043f450764f8c1930f9646786b6843477846ad97f0128e82d5bb75902af3', '\x645ba6c5c5f834b2289f4e73ae6802e548dc280377ff325ceb35245a3023ee1599933fb0455bec7e7472bb4f759dbe16b1064cba2c3574707a050a66', 'signing', '2026-11-23 03:34:46.108278+00', '2026-11-23 03:34:46.108278+00');

INSERT INTO auth.users VALUES ('01a20678-677f-7938-9c19-aca9884f4296', 'admin@gatehouse.local', 'admin@gatehouse.local', NULL, 'Administrator', '$argon2id$v=19$m=19456,t=2,p=1$A53iqoXtNK2D36DJPbCAtQ$qtjhcYAb2AHZtlUHq8CGh5i5DdzKQV736/TI7bS9bFQ', true, false, 1, '00000000-0000-7000-8000-000000000001', '2026-11-23 03:34:43.837413+00', '2026-11-23 03:34:43.837413+00');
INSERT INTO auth.users VALUES ('01a20678-7099-7b82-820f-b5de815469aa', 'person@example.com', 'person@example.com', NULL, 'A Person', '$argon2id$v=19$m=19456,t=2,p=1$3oZRuu40f2HSwGhb9CRy4Q$HMxVtujVY8p9sAciCUR3tHIGb8i6foB9pgMEls3rxA8', true, false, 1, '01a20678-7099-7c6d-9aac-a3785384642e', '2026-11-23 03:34:46.169863+00', '2026-11-23 03:34:46.169863+00');

INSERT INTO core.categories VALUES ('01a20678-70df-75a6-8eb4-98d25318d311', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Food', 'food', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70df-775a-9abd-6eaaa8da00cc', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Transport', 'transport', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70df-77d9-8fcf-a5a14ed74d5e', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Shopping', 'shopping', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70df-78f5-b1be-2fc95e7cceb2', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Bills', 'bills', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70df-792d-b400-1e06c6367c7c', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Entertainment', 'entertainment', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70df-7cca-aa3b-b44a6c683e6b', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Health', 'health', NULL, '#3182ce', NULL, true, '2026-11-23 03:34:46.249526+00', '2026-11-23 03:34:46.249526+00');
INSERT INTO core.categories VALUES ('01a20678-70ef-7542-8774-f346e6f2fc79', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', 'Of my own', 'of my own', NULL, '#336699', NULL, false, '2026-11-23 03:34:46.255342+00', '2026-11-23 03:34:46.255342+00');

INSERT INTO core.expenses VALUES ('01a20678-70f4-7203-8025-0baa402b78f1', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', '01a20678-70ef-7542-8774-f346e6f2fc79', 25.50, 'USD', '2026-01-31', 'Bread and cheese', NULL, '{}', NULL, '2026-11-23 03:34:46.260422+00', '2026-11-23 03:34:46.260422+00');
INSERT INTO core.expenses VALUES ('01a20678-70f9-7bce-bb2b-53afbb73d26d', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', '01a20678-70df-75a6-8eb4-98d25318d311', 0.01, 'EUR', '2026-02-01', 'The smallest amount', NULL, '{}', NULL, '2026-11-23 03:34:46.26521+00', '2026-11-23 03:34:46.26521+00');
INSERT INTO core.expenses VALUES ('01a20678-70fc-711b-a4f4-bdf618e9a8c3', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', '01a20678-70df-775a-9abd-6eaaa8da00cc', 9999999999.99, 'USD', '2026-02-28', 'A large one', NULL, '{}', 'Zürich, 東京, ''quoted''', '2026-11-23 03:34:46.26865+00', '2026-11-23 03:34:46.26865+00');
INSERT INTO core.expenses VALUES ('01a20678-70ff-73a7-ada0-6a59b284a1a2', '01a20678-7099-7c6d-9aac-a3785384642e', '01a20678-7099-7b82-820f-b5de815469aa', '01a20678-70df-77d9-8fcf-a5a14ed74d5e', 1234.10, 'USD', '2026-03-01', 'A trip', NULL, '{train,tent}', NULL, '2026-11-23 03:34:46.272045+00', '2026-11-23 03:34:46.272045+00');

INSERT INTO core.feed_positions VALUES ('auth.revocations', 0, '2026-11-23 03:34:46.003693+00');

INSERT INTO gatehouse.alembic_version VALUES ('expenses_0001');
INSERT INTO gatehouse.alembic_version VALUES ('core_0001');
INSERT INTO gatehouse.alembic_version VALUES ('auth_0001');

SELECT pg_catalog.setval('auth.revocations_seq_seq', 1, false);

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_hash_key UNIQUE (hash);

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (key);

ALTER TABLE ONLY auth.login_events
    ADD CONSTRAINT login_events_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.login_events_2026_11
    ADD CONSTRAINT login_events_2026_11_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.login_events_2026_12
    ADD CONSTRAINT login_events_2026_12_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.login_events_2027_01
    ADD CONSTRAINT login_events_2027_01_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.login_events_2027_02
    ADD CONSTRAINT login_events_2027_02_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.login_events_default
    ADD CONSTRAINT login_events_default_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY auth.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (org_id, user_id);

ALTER TABLE ONLY auth.organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.revocations
    ADD CONSTRAINT revocations_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_email_key UNIQUE (email_normalized);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.categories
    ADD CONSTRAINT categories_name_unique UNIQUE (user_id, org_id, name_key);

ALTER TABLE ONLY core.categories
    ADD CONSTRAINT categories_owner_unique UNIQUE (user_id, org_id, id);

ALTER TABLE ONLY core.categories
    ADD CONSTRAINT categories_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.expenses
    ADD CONSTRAINT expenses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.feed_positions
    ADD CONSTRAINT feed_positions_pkey PRIMARY KEY (feed);

ALTER TABLE ONLY core.recent_purges
    ADD CONSTRAINT recent_purges_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY gatehouse.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

CREATE INDEX api_keys_org_id ON auth.api_keys USING btree (org_id);

CREATE INDEX api_keys_user_id ON auth.api_keys USING btree (user_id);

CREATE INDEX login_events_user_id ON ONLY auth.login_events USING btree (user_id, at);

CREATE INDEX login_events_2026_11_user_id_at_idx ON auth.login_events_2026_11 USING btree (user_id, at);

CREATE INDEX login_events_2026_12_user_id_at_idx ON auth.login_events_2026_12 USING btree (user_id, at);

CREATE INDEX login_events_2027_01_user_id_at_idx ON auth.login_events_2027_01 USING btree (user_id, at);

CREATE INDEX login_events_2027_02_user_id_at_idx ON auth.login_events_2027_02 USING btree (user_id, at);

CREATE INDEX login_events_default_user_id_at_idx ON auth.login_events_default USING btree (user_id, at);

CREATE INDEX memberships_user_id ON auth.memberships USING btree (user_id);

CREATE UNIQUE INDEX organizations_one_system ON auth.organizations USING btree (kind) WHERE (kind = 'system'::text);

CREATE INDEX sessions_expires_at ON auth.sessions USING btree (expires_at);

CREATE INDEX sessions_org_id ON auth.sessions USING btree (org_id);

CREATE INDEX sessions_user_id ON auth.sessions USING btree (user_id);

CREATE UNIQUE INDEX signing_keys_one_signs ON auth.signing_keys USING btree (state) WHERE (state = 'signing'::text);

CREATE INDEX users_current_org_id ON auth.users USING btree (current_org_id);

CREATE UNIQUE INDEX users_username_key ON auth.users USING btree (lower(username));

CREATE INDEX expenses_by_category ON core.expenses USING btree (user_id, org_id, category_id, date DESC, created_at DESC, id DESC);

CREATE INDEX expenses_by_date ON core.expenses USING btree (user_id, org_id, date DESC, created_at DESC, id DESC);

ALTER INDEX auth.login_events_pkey ATTACH PARTITION auth.login_events_2026_11_pkey;

ALTER INDEX auth.login_events_user_id ATTACH PARTITION auth.login_events_2026_11_user_id_at_idx;

ALTER INDEX auth.login_events_pkey ATTACH PARTITION auth.login_events_2026_12_pkey;

ALTER INDEX auth.login_events_user_id ATTACH PARTITION auth.login_events_2026_12_user_id_at_idx;

ALTER INDEX auth.login_events_pkey ATTACH PARTITION auth.login_events_2027_01_pkey;

ALTER INDEX auth.login_events_user_id ATTACH PARTITION auth.login_events_2027_01_user_id_at_idx;

ALTER INDEX auth.login_events_pkey ATTACH PARTITION auth.login_events_2027_02_pkey;

ALTER INDEX auth.login_events_user_id ATTACH PARTITION auth.login_events_2027_02_user_id_at_idx;

ALTER INDEX auth.login_events_pkey ATTACH PARTITION auth.login_events_default_pkey;

ALTER INDEX auth.login_events_user_id ATTACH PARTITION auth.login_events_default_user_id_at_idx;

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_org_id_fkey FOREIGN KEY (org_id) REFERENCES auth.organizations(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.memberships
    ADD CONSTRAINT memberships_org_id_fkey FOREIGN KEY (org_id) REFERENCES auth.organizations(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.memberships
    ADD CONSTRAINT memberships_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_org_id_fkey FOREIGN KEY (org_id) REFERENCES auth.organizations(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_current_org_id_fkey FOREIGN KEY (current_org_id) REFERENCES auth.organizations(id);

ALTER TABLE ONLY core.expenses
    ADD CONSTRAINT expenses_category_owned FOREIGN KEY (user_id, org_id, category_id) REFERENCES core.categories(user_id, org_id, id);

