"""The contract in other languages, generated from its models."""
