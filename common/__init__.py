"""What the edge and the services share. Imports none of them."""
