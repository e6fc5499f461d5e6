"""What takes minutes to show: `make soak`."""
