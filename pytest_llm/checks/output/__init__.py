"""Did the output change: capture what a build generates, compare it, judge it."""
