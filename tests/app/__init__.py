"""HTTP in, JSON out: every answer here is held against the OpenAPI document."""
