"""The processes: Celery workers with their heartbeat, and the schedule that beat sends."""
