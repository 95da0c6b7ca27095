"""Photos to embeddings on the executors: fetch, decode and inference overlapped in every Python worker."""
