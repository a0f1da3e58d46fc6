"""Tables of who may do what: principals, service accounts, access tokens, bindings."""

from sqlalchemy import Column, Index, LargeBinary, Table, UniqueConstraint

from control_service.storage.columns import flag, key, metadata, number, text, where

principals = Table(
    "principals",
    metadata,
    key("member"),
    text("display_name"),
    text("groups"),
    number("last_sign_in_us", nullable=True),
    flag("disabled"),
    Index("ix_principals_disabled", "member", **where("disabled")),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    # Both are empty for what belongs to the platform, `team_id` for what belongs to an account.
    key("account_id"),
    key("team_id"),
    key("service_account_id"),
    text("display_name"),
    text("creator"),
    number("create_us"),
    number("delete_us", nullable=True),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    key("token_id"),
    text("owner"),
    text("display_name"),
    text("narrowed_role", nullable=True),
    text("narrowed_scope", nullable=True),
    # HMAC-SHA-256, by the pepper, of the SHA-256 of the token's text.
    Column("secret_hash", LargeBinary, nullable=False),
    Column("previous_secret_hash", LargeBinary, nullable=True),
    number("previous_secret_expire_us", nullable=True),
    number("expire_us", nullable=True),
    flag("disabled"),
    flag("signed_in"),
    number("last_use_day_us", nullable=True),
    number("create_us"),
    number("delete_us", nullable=True),
    # The moment after which nobody looks for the token: its deletion, or the end of a sign-in.
    number("forget_us", nullable=True),
    Index(None, "owner", "token_id"),
    Index("ix_access_tokens_forget_us", "forget_us", **where("forget_us IS NOT NULL")),
)

bindings = Table(
    "bindings",
    metadata,
    key("account_id"),
    key("team_id"),
    key("binding_id"),
    text("member"),
    text("role"),
    text("node_names"),
    text("creator"),
    number("create_us"),
    # By role first: an account's owners are counted.
    UniqueConstraint("account_id", "team_id", "role", "member", "node_names"),
    Index(None, "member"),
)

access_changes = Table(
    "access_changes",
    metadata,
    # `member` or `token`, and the member or the token's id.
    key("kind"),
    key("subject"),
    number("config_version"),
    Index(None, "config_version"),
)
