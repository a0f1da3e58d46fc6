"""Drills: what operators fear, done on purpose to real programs under load, with the books compared afterwards."""
