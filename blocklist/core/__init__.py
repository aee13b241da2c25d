"""Pure rules: canonical URLs, entries, list bytes, deltas, ladder. No clock, files or network."""
