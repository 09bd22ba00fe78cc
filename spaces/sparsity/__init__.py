"""Sparsity: which weights and channels of a network can go, masks that take them out, and the network without them."""
