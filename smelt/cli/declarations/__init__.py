"""Declarations of the contract for other languages, generated from its models."""
