"""Networks with early exits in a search: what they cost, how they are judged, how they ship."""
