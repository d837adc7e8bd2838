"""Where documents and blobs are: the embedded MongoDB, builders, queries."""
