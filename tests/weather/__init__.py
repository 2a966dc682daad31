"""Bad weather around LNbits: every trouble is told apart, and no payment is lost or invented."""
