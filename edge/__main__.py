"""`python -m edge`: the supervisor and its workers."""

import sys

from common import supervisor

if __name__ == "__main__":
    sys.exit(supervisor.main("edge", check="edge.app:check", worker="edge.app:build"))
