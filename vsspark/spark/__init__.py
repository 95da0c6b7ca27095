"""How we run on Spark: the session, Python workers, GPUs, digests of tables."""
