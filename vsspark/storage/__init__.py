"""Where the tables are, how they are written, and who may write them."""
