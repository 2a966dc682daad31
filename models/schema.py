"""Which revision of the database this code wants. A test compares it with the newest migration."""

HEAD = "0012"
