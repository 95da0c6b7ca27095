"""The visual report of a published run: one self-contained HTML file a merchandiser can read.

contents (what a report says) <- spark (the queries that gather it), thumbnails (pictures) <- render (HTML) <- build
(all of it).
"""
