"""A service as small as can be, run by the tests with `python -m sample`."""
