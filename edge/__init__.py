"""The edge: the one process that faces the internet; forwards to services and keeps their policies."""
