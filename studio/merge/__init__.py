"""Combining adapters, and merging them into their base. Its modules need torch; this file doesn't."""
