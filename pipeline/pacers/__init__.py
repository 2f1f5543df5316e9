"""Pacers: one rate for the whole fleet. ``pacer`` does the arithmetic, the others keep a state."""
