"""Who is calling: tokens verified here, keys resolved by the auth service, both remembered until they end."""
