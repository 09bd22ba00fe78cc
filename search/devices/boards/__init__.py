"""Microcontrollers and accelerators: board files, and the tools that their engineers use."""
