"""What a run found, told: one module for each report. Nothing here computes."""
