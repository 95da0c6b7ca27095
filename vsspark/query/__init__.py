"""Point a phone at a garment, get shopping links: neighbours of single images in the published run.

answers (what is said), pictures (embedded here), candidates (the search of one task) <- spark (over the table) <- ask
(all of it).
"""
