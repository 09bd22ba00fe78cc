"""Networks that may answer before their last layer, so that easy inputs cost less than hard ones."""
