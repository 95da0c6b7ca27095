"""docs/reference, made from the code: every key of the configuration, every column of the tables."""
