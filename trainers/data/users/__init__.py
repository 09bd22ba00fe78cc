"""People whom no split of a data set has, for models that are made one user's own."""
