"""Which category an image is predicted to be in, and which categories its query searches."""
