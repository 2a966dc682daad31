"""The product against a real x402: a chain, a facilitator, and the clients that others publish."""
