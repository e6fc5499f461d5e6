"""The core service: hosts the business modules."""
