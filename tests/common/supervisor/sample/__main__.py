import sys

from common import supervisor

sys.exit(supervisor.main("sample", check="sample.settings:check", worker="sample.app:build"))
