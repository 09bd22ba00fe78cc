"""What Python programs call, and the command line too. :mod:`repareto` has these names at its top."""
