"""The life of a job: intake, evaluation, execution, expiry, and the free demo."""
