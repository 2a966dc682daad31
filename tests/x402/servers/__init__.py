"""Programs that run on the environment of the official x402, started by the rig."""
