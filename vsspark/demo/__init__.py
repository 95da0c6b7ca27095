"""The generated catalogue: product photos of any number with known truth, drawn from a seed.

`products` says what product i is and which photos it has, `fabrics`, `garments` and `figure` say what they are made
of, `draw` renders one photo to JPEG bytes, `spark` writes a whole catalogue on the executors. Product i depends on
the seed and on i alone, so any share can be drawn anywhere.
"""
