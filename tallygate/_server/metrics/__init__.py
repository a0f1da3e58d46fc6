"""What is counted while a service runs, and how it is told: by Prometheus's format, and by OTLP.

Counters are plain integers on the objects that do the work. They are read when somebody asks, so that counting costs
next to nothing. Only this package and the modules named `metrics` of the services know prometheus_client.
"""
