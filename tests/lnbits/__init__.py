"""The product against real LNbits servers: A plays the Lightning network, B is ours."""
