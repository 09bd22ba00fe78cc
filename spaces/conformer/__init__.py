"""The Conformer with a CTC head: convolution and self-attention for speech (Gulati et al. 2020, arXiv 2005.08100)."""
