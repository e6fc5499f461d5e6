"""Every branch of migrations has a way back, and going back and forth leaves the same schema."""

import psycopg
import pytest

from ops.migrate import downgrade, migrate, shipped_locations

BRANCHES = sorted(shipped_locations())

_SCHEMA = """
    SELECT 'column', table_schema, table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema IN ('auth', 'core')
    UNION ALL
    SELECT 'constraint', nspname, coalesce(relname, ''), conname, pg_get_constraintdef(pg_constraint.oid)
    FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
    LEFT JOIN pg_class ON pg_class.oid = conrelid
    WHERE nspname IN ('auth', 'core')
    UNION ALL
    SELECT 'index', schemaname, tablename, indexname, indexdef FROM pg_indexes WHERE schemaname IN ('auth', 'core')
    UNION ALL
    SELECT 'function', nspname, '', proname, pg_get_functiondef(pg_proc.oid)
    FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname IN ('auth', 'core')
    ORDER BY 1, 2, 3, 4, 5
"""

Schema = list[tuple[str, ...]]


def schema(url: str) -> Schema:
    """Columns, constraints, indexes and functions of both services, as the database tells them."""
    with psycopg.connect(url) as connection:
        return connection.execute(_SCHEMA).fetchall()


def test_every_service_and_module_has_a_branch() -> None:
    assert {"auth", "core", "expenses"} <= set(BRANCHES)


@pytest.mark.parametrize("branch", BRANCHES)
def test_branch_goes_down_and_up_again_to_the_same_schema(branch: str, empty_database_url: str) -> None:
    migrate(empty_database_url)
    before = schema(empty_database_url)
    undone = downgrade(empty_database_url, branch)
    assert undone
    assert schema(empty_database_url) != before
    assert migrate(empty_database_url) == undone[::-1]
    assert schema(empty_database_url) == before


def test_all_branches_down_leave_nothing(empty_database_url: str) -> None:
    migrate(empty_database_url)
    # Modules first: one may refer to what its service keeps.
    for branch in sorted(BRANCHES, key=lambda name: name in {"auth", "core"}):
        downgrade(empty_database_url, branch)
    assert schema(empty_database_url) == []
