"""Upstreams: their servers, and how a request reaches one and its answer comes back."""
