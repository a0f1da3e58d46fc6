"""The metering service: takes token reports, answers allow or deny, records usage."""
