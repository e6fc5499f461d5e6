"""What runs inside the compose stack besides the services: its one-shots and the image's health check."""
