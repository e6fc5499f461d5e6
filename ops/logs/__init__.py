"""Log files after they are written: reading, searching, rotating. docs/logs.md is the user's page.

`lines.py` knows every form of line, `files.py` a log's current file and its older ones, `reading.py` merges logs by
time, `sign_ins.py` finds failed sign-ins, `rotation.py` keeps the policy of the settings, `mark.py` reads what was
written since.
"""
