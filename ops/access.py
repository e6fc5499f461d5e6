"""Who can do what, and who tried to: the figures of the monthly access review (docs/security-review.md).

Reads schema `auth` and changes nothing. Lists hold what a person should look at: members of the system organization and
of teams, keys that work, addresses and accounts with failed sign-ins. Ordinary accounts, with nothing but an
organization of their own, are counted.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

LIST_MAX = 200
UNUSED_DAYS = 90
_GUESSED_ACCOUNTS = 5

_COUNTS = """
    SELECT (SELECT count(*) FROM auth.users)                                                   AS accounts,
           (SELECT count(*) FROM auth.users WHERE NOT is_active)                               AS inactive_accounts,
           (SELECT count(*) FROM auth.users
             WHERE created_at >= now() - make_interval(days => %(days)s))                      AS new_accounts,
           (SELECT count(*) FROM auth.sessions
             WHERE revoked_at IS NULL AND expires_at > now() AND idle_expires_at > now())      AS open_sessions,
           (SELECT count(*) FROM auth.api_keys
             WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))          AS working_keys,
           (SELECT count(*) FROM auth.login_events
             WHERE result = 'succeeded' AND at >= now() - make_interval(days => %(days)s))     AS sign_ins,
           (SELECT count(*) FROM auth.login_events
             WHERE result = 'failed' AND at >= now() - make_interval(days => %(days)s))        AS failed_sign_ins
"""

# Whoever is more than the admin of an organization of their own.
_MEMBERS = """
    SELECT coalesce(u.email, u.username, u.id::text) AS account, o.name AS organization, o.kind, m.role, u.is_active,
           (SELECT max(at) FROM auth.login_events e WHERE e.user_id = u.id AND e.result = 'succeeded') AS last_sign_in,
           (SELECT count(*) FROM auth.sessions s WHERE s.user_id = u.id AND s.revoked_at IS NULL
                AND s.expires_at > now() AND s.idle_expires_at > now()) AS open_sessions
      FROM auth.memberships m JOIN auth.organizations o ON o.id = m.org_id JOIN auth.users u ON u.id = m.user_id
     WHERE o.kind <> 'personal'
     ORDER BY o.kind, o.name, m.role, account
     LIMIT %(limit)s
"""

# Never used and longest unused first: those are the ones to end.
_KEYS = """
    SELECT k.name, k.preview, coalesce(u.email, u.username, k.user_id::text) AS account, o.name AS organization,
           k.scopes, k.created_at, k.last_used_at, k.expires_at
      FROM auth.api_keys k JOIN auth.organizations o ON o.id = k.org_id LEFT JOIN auth.users u ON u.id = k.user_id
     WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
     ORDER BY k.last_used_at NULLS FIRST, k.created_at
     LIMIT %(limit)s
"""

_FAILED_ADDRESSES = """
    SELECT address, count(*) AS attempts, count(DISTINCT user_id) AS accounts, max(at) AS last_at
      FROM auth.login_events
     WHERE result = 'failed' AND at >= now() - make_interval(days => %(days)s)
     GROUP BY address ORDER BY attempts DESC, address LIMIT %(limit)s
"""

_FAILED_ACCOUNTS = """
    SELECT coalesce(u.email, u.username, e.user_id::text) AS account, count(*) AS attempts,
           count(DISTINCT e.address) AS addresses, max(e.at) AS last_at
      FROM auth.login_events e LEFT JOIN auth.users u ON u.id = e.user_id
     WHERE e.result = 'failed' AND e.user_id IS NOT NULL AND e.at >= now() - make_interval(days => %(days)s)
     GROUP BY u.email, u.username, e.user_id ORDER BY attempts DESC, account LIMIT %(limit)s
"""

_LISTS = ("members", "keys", "failed_addresses", "failed_accounts")


def review(url: str, *, days: int, list_max: int = LIST_MAX) -> dict[str, Any]:
    """The counts, the four lists (at most `list_max` each), and `notes`: sentences about what to look at first.

    Raises psycopg.Error. One snapshot: the lists agree with the counts.
    """
    with psycopg.connect(url, connect_timeout=5, row_factory=dict_row, prepare_threshold=None) as connection:
        connection.set_read_only(True)
        connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        values = {"days": days, "limit": list_max}
        found: dict[str, Any] = {"days": days, "counts": connection.execute(_COUNTS, values).fetchone()}
        found["members"] = connection.execute(_MEMBERS, values).fetchall()
        found["keys"] = connection.execute(_KEYS, values).fetchall()
        found["failed_addresses"] = connection.execute(_FAILED_ADDRESSES, values).fetchall()
        found["failed_accounts"] = connection.execute(_FAILED_ACCOUNTS, values).fetchall()
        row = connection.execute("SELECT now() AS now").fetchone()
    assert row
    found["notes"] = list(_notes(found, row["now"]))
    for name in _LISTS:
        found[name] = [{key: _plain(value) for key, value in entry.items()} for entry in found[name]]
    return {"time": _plain(row["now"]), **found}


def _notes(found: dict[str, Any], now: datetime) -> Iterator[str]:
    for member in found["members"]:
        account, post = member["account"], f"{member['role']} of {member['organization']}"
        if not member["is_active"]:
            yield f"{account} is inactive and still {post}: remove it"
        elif member["last_sign_in"] is None or (now - member["last_sign_in"]).days >= UNUSED_DAYS:
            yield f"{account}, {post}, has not signed in for {UNUSED_DAYS} days"
    for key in found["keys"]:
        days = (now - (key["last_used_at"] or key["created_at"])).days
        if days >= UNUSED_DAYS:
            yield f"key {key['name']} ({key['preview']}) of {key['account']} is unused for {days} days: end it"
    for entry in found["failed_addresses"]:
        if entry["accounts"] >= _GUESSED_ACCOUNTS:
            yield f"{entry['address']} failed on {entry['accounts']} accounts: somebody guesses"


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="seconds").replace("+00:00", "Z") if isinstance(value, datetime) else value
