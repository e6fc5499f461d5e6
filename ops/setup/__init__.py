"""Makes a machine ready: secrets, settings, an empty database server, and on a host everything around them.

Each step looks before it acts: a second run changes nothing, no secret is ever replaced, and lines of a settings file
that somebody else wrote stay. `gatehouse setup` (`ops/cli/setup.py`) asks and tells.
"""
