"""Published keyword spotting networks as search spaces, each with the knob that its authors scale it by."""
