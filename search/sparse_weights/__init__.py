"""Weights of which most are zero, stored without their zeros: an encoding with decoders in NumPy and in C."""
