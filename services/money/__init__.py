"""Money in, money out, what it is worth, and the books."""
