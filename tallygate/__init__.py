"""Tallygate: token metering and admission control for LLM inference fleets."""
