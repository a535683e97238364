"""What is read beside the clock: one module for each probe."""
