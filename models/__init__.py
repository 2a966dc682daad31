"""What is true: tables, the states they pass through, and the only code that moves them."""
