"""`python -m core_service`: the parent of its workers."""

import sys

from common import supervisor

sys.exit(supervisor.main("core_service", check="core_service.app:check", worker="core_service.app:build"))
