-- One row for each delivery that package inbox has stored and that is not done:
-- it waits for due_at, or a worker has it until lease_until, or it is given up
-- (dead_at). Times are in milliseconds since 1970.
create table {p}inbox (
  seq integer primary key autoincrement,  -- the order of arrival
  id text not null unique,
  event_type text not null,
  entity text not null,                   -- what the event is about; empty for none
  deletes integer not null,               -- whether that is gone
  version integer not null,               -- which state of it the event carries, and
  stamp integer not null,                 -- when; zero for none
  received_at integer,
  stored_at integer not null,
  due_at integer,                         -- null when it is given up
  attempt integer not null default 0,     -- those that have failed
  crashes integer not null default 0,     -- in how many after the last of them the process ended
  seen_attempt integer not null default 0, -- the ledger's last one when it was taken
  owner text not null default '',
  lease_until integer,                    -- null when nobody has it
  outcome text not null default '',       -- of the last attempt, and
  problem text not null default '',       -- why
  dead_at integer
);
-- The bodies are by themselves, as the rows above are written anew with each attempt.
create table {p}inbox_bodies (
  seq integer primary key,
  body blob not null
);
create trigger {i}inbox_removed after delete on {p}inbox begin
  delete from {p}inbox_bodies where seq = old.seq;
end;
create index {i}inbox_due on {p}inbox (due_at, seq) where lease_until is null and due_at is not null and crashes < 2;
create index {i}inbox_suspect on {p}inbox (crashes, due_at, seq) where crashes >= 2;
create index {i}inbox_entity on {p}inbox (entity, deletes, version desc, stamp desc, seq);
create index {i}inbox_taken on {p}inbox (entity) where lease_until is not null;
create index {i}inbox_owner on {p}inbox (owner) where lease_until is not null;
create index {i}inbox_lease on {p}inbox (lease_until) where lease_until is not null;
create index {i}inbox_dead on {p}inbox (dead_at, stored_at);
