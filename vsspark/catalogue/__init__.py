"""The shop's own table in: one row per image out."""
