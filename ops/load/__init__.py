"""The load gate: `make load`."""
