"""Whether secrets belong to the data they are about to be kept with.

A shell without the settings of the stack finds other secrets than the services have, and a backup with those would
restore into a stack where nobody signs in.
"""

from collections.abc import Mapping

from auth_service.signing.keys import Vault
from common.errors import ServiceUnavailable
from ops.backup.database import connected
from ops.backup.errors import BackupFailed

_HAS_KEYS = "SELECT to_regclass('auth.signing_keys') IS NOT NULL"
_KEYS = "SELECT kid, encrypted_private FROM auth.signing_keys WHERE state = 'signing'"


def check(owner_url: str, secrets: Mapping[str, str]) -> None:
    """Raises BackupFailed when SECRET_KEY does not open the key that signs now."""
    with connected(owner_url) as connection:
        if connection.execute(_HAS_KEYS).fetchone() != (True,):
            return
        keys = connection.execute(_KEYS).fetchall()
    try:
        for kid, encrypted in keys:
            Vault(secrets["SECRET_KEY"]).open(kid, encrypted)
    except ServiceUnavailable:
        raise BackupFailed(
            "SECRET_KEY, as it is set here, does not open the signing keys in the database: "
            "back up as the stack's user, with its settings"
        ) from None
