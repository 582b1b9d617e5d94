"""Runs the official clients' own test suites; not part of the tests, since no package index carries those suites."""
