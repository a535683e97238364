"""Error rates of the paired rule, by simulation."""
