"""Every moment between a commit and the outside, and everything that may happen there."""
