"""Alerts: when accounts are told of what, and how what was told reaches their webhooks.

`alert_settings.py` and `webhooks.py` are what people do; `delivery_sender.py` sends what `alert_log.py` has written, by
way of a courier that knows HTTP.
"""
