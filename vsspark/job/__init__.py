"""The jobs: command line, pipeline, and one file per stage in the order the data walks through them."""
