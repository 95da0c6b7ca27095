"""`vsspark live`: a page on which one points a phone at a garment, over the published run. No Spark.

current (the run that is published now) <- thumbnails, answers <- app (HTTP) <- serve (the process).
"""
