"""The one history of schema `auth`."""
