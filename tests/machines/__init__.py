"""Odd machines. Left out of `make test`: ``tests/machines/run`` runs it, best as root."""
