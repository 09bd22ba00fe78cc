"""What a profile shows beside its totals: layers, memory over time, advice, comparisons."""
