"""Weights of other packages: read without running code, renamed, and checked by equal outputs."""
