"""A whole system on one bench: starts processes, and is never part of production."""
