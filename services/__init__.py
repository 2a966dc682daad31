"""What the system can do: use cases that see the outside only through the gateways' protocols."""
