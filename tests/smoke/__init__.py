"""What a newcomer does: clone, `make run`, paste the README's lines, Ctrl-C."""
