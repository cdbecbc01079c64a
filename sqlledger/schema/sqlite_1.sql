create table {p}migrations (
  version integer not null primary key,
  applied_at text not null default current_timestamp
);

-- One row for each delivery (svix-id) that is worked on, has failed, or was
-- finished not long ago. Times are in milliseconds since 1970.
create table {p}deliveries (
  id text not null primary key,
  event_type text not null,
  entity text not null,      -- what the event is about; empty for none
  attempt integer not null,  -- the last claim; an older one can't save
  outcome text not null,     -- of the last attempt; empty while it goes on
  received_at integer,
  first_at integer not null,
  claimed_at integer not null,
  lease_until integer,       -- null when nobody has it
  open_since integer,        -- the first of the attempts that never saved anything
  finished_at integer,
  format integer not null,   -- of steps
  steps text not null        -- JSON; empty for none
);
create index {i}deliveries_finished on {p}deliveries (finished_at) where finished_at is not null;
create index {i}deliveries_open on {p}deliveries (claimed_at) where finished_at is null;

-- What is left of a finished delivery after a while.
create table {p}ids (
  id text not null primary key,
  finished_at integer not null
) without rowid;
create index {i}ids_finished on {p}ids (finished_at);

-- The newest state of each user, organization and membership, kept for good.
create table {p}entities (
  key text not null primary key,
  gone integer not null default 0,
  state text
) without rowid;

-- Who has which entity. A row that is left behind by a crash tells the next one
-- that its last holder never gave it back.
create table {p}leases (
  entity text not null primary key,
  delivery text not null,
  attempt integer not null,
  claimed_at integer not null,
  lease_until integer not null
) without rowid;
