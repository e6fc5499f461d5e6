"""Attempts at a secret: reserved before the secret is looked at, refunded when it was right."""
