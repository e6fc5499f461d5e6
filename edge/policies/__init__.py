"""One policy, one file: each reads on one screen and knows nothing of the others."""
