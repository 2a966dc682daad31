"""What this deployment is: settings, the names of queues and tasks, Celery's settings, logs."""
