"""`make host-check`: DEPLOYMENT.md followed on a fresh Debian machine, a container with a real systemd."""
