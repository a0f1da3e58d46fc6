"""The metering service: takes token reports, answers allow or deny, records usage."""

from typing import Final

from metering_service import usecases

IS_COMPILED: Final = not str(usecases.__file__).endswith(".py")
"""Whether decisions run as compiled code, as in a wheel that was built so."""
