"""The auth service: accounts, sessions, API keys and the keys that sign tokens."""
