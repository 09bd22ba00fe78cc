"""repareto: a distributed search for small on-device models. What you deploy is what you search."""

__version__ = "0.1.0"
