"""Instant resources: what creators publish and anyone runs, paid per call."""
