"""Everything around the services: the command line, embedded servers, migrations."""
