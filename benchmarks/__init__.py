"""Every published figure: the script that prints it, and its dated result in ``results/``."""
