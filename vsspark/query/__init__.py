"""Point a phone at a garment, get shopping links: neighbours of single images in the published run. No Spark.

answers (what is said), pictures (embedded here), products (what the tables say), vectors (mapped into memory) <-
search, medians <- ask (all of it).
"""
