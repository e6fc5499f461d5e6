"""`python -m auth_service`: who is calling."""

import sys

from common import supervisor

sys.exit(supervisor.main("auth_service", check="auth_service.app:check", worker="auth_service.app:build"))
