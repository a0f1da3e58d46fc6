"""Tables of end users' API keys."""

from sqlalchemy import Column, Index, LargeBinary, Table, UniqueConstraint

from control_service.storage.columns import flag, key, metadata, number, text, where

api_keys = Table(
    "api_keys",
    metadata,
    key("account_id"),
    key("key_id"),
    text("uid"),
    text("display_name"),
    # The id of a team of the account; empty where the key belongs to none.
    text("team"),
    # A member; empty for none.
    text("owner"),
    # Ids as JSON; null for all.
    text("service_ids", nullable=True),
    text("model_ids", nullable=True),
    text("routes"),
    text("networks"),
    number("expire_us", nullable=True),
    flag("temporary"),
    flag("disabled"),
    text("secret_id"),
    number("previous_secret_expire_us", nullable=True),
    number("config_version"),
    text("creator"),
    number("create_us"),
    number("update_us"),
    number("delete_us", nullable=True),
    # The end of a temporary key, some time after which it is deleted; null of others, and once it is.
    number("forget_us", nullable=True),
    UniqueConstraint("account_id", "uid"),
    Index(None, "config_version"),
    # Lists have no tombstones, and one of a team has its keys only.
    Index("ix_api_keys_listed", "account_id", "key_id", **where("delete_us IS NULL")),
    Index("ix_api_keys_listed_by_team", "account_id", "team", "key_id", **where("delete_us IS NULL")),
    Index("ix_api_keys_forget_us", "forget_us", **where("forget_us IS NOT NULL")),
)

api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    # HMAC-SHA-256, by a key made of the pepper, of the SHA-256 of the secret: what a node shows cannot be read here.
    Column("secret_hash", LargeBinary, primary_key=True),
    text("account_id"),
    text("key_id"),
    # The end that a rotation has set; null for the secret of now.
    number("expire_us", nullable=True),
    # The moment after which the secret is known for a while as one that was revoked or has expired.
    number("forget_us", nullable=True),
    Index(None, "account_id", "key_id"),
    Index("ix_api_key_secrets_forget_us", "forget_us", **where("forget_us IS NOT NULL")),
)
