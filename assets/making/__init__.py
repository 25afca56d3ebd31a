"""Makers of the starter model and of the samples. Run by hand, never by tests or by installing."""
