"""Two of everything. Left out of `make test`: ``tests/fleet/run`` runs it, in some minutes."""
