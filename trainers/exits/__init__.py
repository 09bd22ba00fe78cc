"""What a network with early exits learns after its weights: when to be sure, and whom to serve."""
