-- Attempts in whose middle the process ended: how many, and which attempt of the
-- ledger was the last of them.
alter table {p}inbox add column crashes integer not null default 0;
alter table {p}inbox add column crashed_attempt integer not null default 0;
