"""How long a runtime of this machine takes for a graph: work counted, timed and fitted."""
