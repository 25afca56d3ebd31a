"""Pieces of the page as pure functions: values in, HTML out. They decide nothing and call nothing."""
