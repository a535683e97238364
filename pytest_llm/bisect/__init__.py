"""Search for the builds that made a test slower or changed its output, by comparing pairs of them."""
