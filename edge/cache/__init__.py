"""Answers kept for a while on routes that ask for it, in the memory of each worker (RFC 9111, as a shared cache)."""
