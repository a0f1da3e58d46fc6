"""Databases with one meaning on SQLite and PostgreSQL: engines, URLs, migrations."""
