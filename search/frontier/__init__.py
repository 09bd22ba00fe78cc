"""The sampler that knows what a candidate costs before it is trained, and guesses only how wrong it will be."""
