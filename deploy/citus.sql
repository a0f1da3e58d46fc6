-- How Citus (https://www.citusdata.com) is told to shard the two databases: run each half once, in its own database, after
-- the service has made its tables, and before it has much in them. What a table is distributed by is in its primary key and
-- in all of its unique constraints. See docs/growth.md for what works across shards and what does not.

-- control: by account
SELECT create_reference_table('meta');
SELECT create_reference_table('models');
SELECT create_reference_table('model_aliases');
SELECT create_reference_table('prices');
SELECT create_reference_table('withdrawn_prices');
SELECT create_reference_table('nodes');
SELECT create_reference_table('page_keys');
SELECT create_reference_table('principals');
SELECT create_reference_table('access_tokens');
SELECT create_reference_table('access_changes');
SELECT create_distributed_table('accounts', 'account_id');
SELECT create_distributed_table('ledger_entries', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('teams', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('services', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('trial_claims', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('reservations', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('rate_buckets', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('service_events', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('limit_pots', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('rule_pots', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('limit_versions', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('rate_rules', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('budgets', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('leases', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alert_counts', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alerts', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('webhooks', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('webhook_deliveries', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('api_keys', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('service_accounts', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('bindings', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('audit_entries', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('idempotency_keys', 'scope', colocate_with => 'accounts');
SELECT create_distributed_table('api_key_secrets', 'secret_hash');

-- metering: by service, and what belongs to nodes by node
SELECT create_reference_table('meta');
SELECT create_reference_table('resume_keys');
SELECT create_reference_table('services');
SELECT create_reference_table('roll_ups');
SELECT create_distributed_table('requests', 'service');
SELECT create_distributed_table('second_looks', 'service', colocate_with => 'requests');
SELECT create_distributed_table('leases', 'service', colocate_with => 'requests');
SELECT create_distributed_table('minute_usage', 'service', colocate_with => 'requests');
SELECT create_distributed_table('minute_denials', 'service', colocate_with => 'requests');
SELECT create_distributed_table('nodes', 'node');
SELECT create_distributed_table('epochs', 'node', colocate_with => 'nodes');
SELECT create_distributed_table('counts_pages', 'node', colocate_with => 'nodes');
