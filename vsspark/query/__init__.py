"""Point a phone at a garment, get shopping links: neighbours of single images in the published run.

candidates (arrays of one task) <- spark (the search over the table) <- answer (all of it); show (text and JSON).
"""
