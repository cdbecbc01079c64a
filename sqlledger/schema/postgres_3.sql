-- One row for each attempt of a delivery that package eventlog has recorded.
-- The ids are in the order of time.
create table {p}log (
  id text collate "C" primary key,
  seq bigint generated always as identity,  -- tells how many rows there are
  event_type text not null,
  outcome text not null,
  delivery text not null,
  user_id text not null,                    -- those of the entity; empty for none
  organization_id text not null,
  record text not null,                     -- JSON, without bodies
  bodies text not null                      -- JSON; empty for none
);
create index {i}log_outcome on {p}log (outcome, id);
create index {i}log_type on {p}log (event_type, outcome, id);
create index {i}log_delivery on {p}log (delivery, id);
create index {i}log_user on {p}log (user_id, id) where user_id <> '';
create index {i}log_organization on {p}log (organization_id, id) where organization_id <> '';

-- Requests that were not verified, which anybody can send.
create table {p}log_unverified (
  id text collate "C" primary key,
  record text not null
);
