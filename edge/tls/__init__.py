"""TLS in the edge itself: certificates of yours and of an ACME authority, chosen by name, replaced while it serves."""
