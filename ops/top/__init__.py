"""What the edge does at this moment, from two looks at its figures."""
