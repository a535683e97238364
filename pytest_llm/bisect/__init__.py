"""Which build did it: every guilty step along a row of builds, found by comparing pairs of them."""
