"""When and how often: a task is a name and one call. What it does is a service."""
