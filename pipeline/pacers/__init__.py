"""Pacers: one rate for the whole fleet. ``pacer`` applies the arithmetic, each other module stores a state."""
