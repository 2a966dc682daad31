"""Figures of a running product. Worth something only beside others of the same machine and hour."""
