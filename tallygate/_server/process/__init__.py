"""The life of a program: options, logs, signals, readiness."""
