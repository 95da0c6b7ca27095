"""The jobs spark-submit takes."""
