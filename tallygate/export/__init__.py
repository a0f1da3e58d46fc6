"""Exports of usage to files: request records and aggregates as CSV and Parquet, costs as FOCUS, usage as CloudEvents.

Every number is an integer, every amount of money exact: integer nanos, or a decimal text where a format asks for units.
"""
