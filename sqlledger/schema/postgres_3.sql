-- One row for each attempt of a delivery that package eventlog has recorded.
-- The ids are in the order of time.
create table {p}log (
  id text collate "C" primary key,
  at_id text collate "C" not null,          -- the id again, in whose order the indexes are
  event_type text not null,
  outcome text not null,
  delivery text not null,
  user_id text not null,                    -- those of the entity; empty for none
  organization_id text not null,
  record text not null,                     -- JSON, without bodies
  bodies text not null                      -- JSON; empty for none
);
-- There is none on at_id alone. With the id, PostgreSQL would walk along the
-- primary key instead, in the hope that a row that fits comes soon.
create index {i}log_outcome on {p}log (outcome, at_id);
create index {i}log_type on {p}log (event_type, outcome, at_id);
create index {i}log_delivery on {p}log (delivery, at_id);
create index {i}log_user on {p}log (user_id, at_id) where user_id <> '';
create index {i}log_organization on {p}log (organization_id, at_id) where organization_id <> '';

-- Requests that were not verified, which anybody can send.
create table {p}log_unverified (
  id text collate "C" primary key,
  record text not null
);
