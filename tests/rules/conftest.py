"""What every rule is tried with."""

from hypothesis import settings

# A busy machine is no defect: examples here take milliseconds, and minutes on none.
settings.register_profile("rules", deadline=None)
settings.load_profile("rules")
