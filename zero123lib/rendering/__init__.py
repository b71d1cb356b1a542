"""Training data from mesh files: official cameras, in the official folder layout (`dataset`)."""
