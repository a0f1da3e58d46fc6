"""Names of all settings, which a settings file may have and the environment too."""

from __future__ import annotations

from typing import Final

SETTING_NAMES: Final = frozenset(
    {
        "TALLYGATE_ANSWER_MS",
        "TALLYGATE_AUTH",
        "TALLYGATE_BODY_BYTES_MAX",
        "TALLYGATE_CA",
        "TALLYGATE_CERT",
        "TALLYGATE_CLIENT_CA",
        "TALLYGATE_CONFIG_DIR",
        "TALLYGATE_CONTEXT",
        "TALLYGATE_CONTROL_ADDRESS",
        "TALLYGATE_CONTROL_AUDIT_DAYS",
        "TALLYGATE_CONTROL_CA",
        "TALLYGATE_CONTROL_CERT",
        "TALLYGATE_CONTROL_DATABASE_URL",
        "TALLYGATE_CONTROL_KEY",
        "TALLYGATE_CONTROL_LISTEN",
        "TALLYGATE_CONTROL_MTLS_LISTEN",
        "TALLYGATE_CONTROL_TOKEN_FILE",
        "TALLYGATE_CONTROL_WEBHOOKS_ALLOW_PRIVATE",
        "TALLYGATE_COUNT_INPUT",
        "TALLYGATE_DATA_DIR",
        "TALLYGATE_INSECURE",
        "TALLYGATE_KEY",
        "TALLYGATE_LOG_FORMAT",
        "TALLYGATE_LOG_LEVEL",
        "TALLYGATE_METERING_ADDRESSES",
        "TALLYGATE_METERING_DATABASE_URL",
        "TALLYGATE_METERING_LISTEN",
        "TALLYGATE_METERING_MTLS_LISTEN",
        "TALLYGATE_METERING_WORKERS",
        "TALLYGATE_NODE_NAME",
        "TALLYGATE_NO_AUTH",
        "TALLYGATE_OIDC_CONFIG",
        "TALLYGATE_ON_UNREACHABLE",
        "TALLYGATE_OPERATOR_TOKEN_FILE",
        "TALLYGATE_PEPPER_FILE",
        "TALLYGATE_ROUTES",
        "TALLYGATE_SERVICE",
        "TALLYGATE_SERVICES",
        "TALLYGATE_STREAM_USAGE",
        "TALLYGATE_TLS_CERT",
        "TALLYGATE_TLS_KEY",
        "TALLYGATE_TOKEN",
        "TALLYGATE_TOKEN_FILE",
        "TALLYGATE_TRUST_DOMAIN",
        "TALLYGATE_WHOLE_ANSWERS",
    }
)
"""Variables that some program of the project reads; `tests/unit/test_settings_file.py` finds one that is missing."""
