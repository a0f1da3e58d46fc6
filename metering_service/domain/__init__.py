"""The rules, pure: no clock, no wire, no database."""
