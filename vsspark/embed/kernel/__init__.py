"""The embed stage without Spark: Arrow record batches in, Arrow record batches out."""
