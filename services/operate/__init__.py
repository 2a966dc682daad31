"""Running the service: duties that come round, dispatch, health."""
