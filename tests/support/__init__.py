"""What tests share: a doorbell that can be answered, jobs in any state, faults by name."""
