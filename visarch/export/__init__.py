"""Trained models as files that run without visarch: traced, written, and checked."""
