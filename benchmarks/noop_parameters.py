"""How many parameters of each kind the trials that do nothing have."""

WIDTHS, RATES, FLAGS = 4, 2, 2
