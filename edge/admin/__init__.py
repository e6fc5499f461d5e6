"""What this machine may ask of the edge on its private socket: what it does and was told (docs/insight.md)."""
